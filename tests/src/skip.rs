//! Skips: named, counted, and compared with a list.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The skips that are expected in CI, one a line: `host` or `vm`, the name, and the reason.
const LISTED: &str = include_str!("../skips.txt");

/// Whether this run is held to the list of skips.
#[must_use]
pub fn in_ci() -> bool {
    std::env::var_os("RUSTBOX_CI").is_some_and(|v| v == "1")
}

/// Whether this runs in the emulated guest, where everything takes an order of magnitude longer.
#[must_use]
pub fn in_guest() -> bool {
    std::env::var_os("RUSTBOX_VM").is_some()
}

/// How often to do something: what this variable says, else so often on a host, and a tenth of that in a guest.
#[must_use]
pub fn how_often(variable: &str, on_a_host: usize) -> usize {
    let given = std::env::var(variable).ok().and_then(|n| n.parse().ok());
    given.unwrap_or(if in_guest() { on_a_host / 10 } else { on_a_host })
}

/// The reason with which this is listed as skipped in this place.
#[must_use]
pub(crate) fn is_listed(name: &str) -> Option<String> {
    let place = if in_guest() { "vm" } else { "host" };
    let row = LISTED.lines().find(|line| line.split_ascii_whitespace().take(2).eq([place, name]))?;
    Some(row.split_ascii_whitespace().skip(2).collect::<Vec<_>>().join(" "))
}

/// True when the case can run. Else it says on stderr that `name` is skipped and why, and the caller returns.
///
/// # Panics
/// In CI, when the skip is not in `tests/skips.txt`, and when a listed one could have run: there the set
/// of skips is part of the result.
#[must_use]
pub fn skip_unless(name: &str, there: Result<(), String>) -> bool {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let place = if in_guest() { "vm" } else { "host" };
    let listed = LISTED.lines().any(|line| line.split_ascii_whitespace().take(2).eq([place, name]));
    match there {
        Ok(()) => {
            assert!(!(in_ci() && listed), "{name} is listed in tests/skips.txt, but could run: take it off the list");
            true
        }
        Err(reason) => {
            let count = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
            eprintln!("skipped: {name}: {reason} (skip number {count} of this test binary)");
            assert!(listed || !in_ci(), "{name} is skipped, and not listed in tests/skips.txt: {reason}");
            false
        }
    }
}
