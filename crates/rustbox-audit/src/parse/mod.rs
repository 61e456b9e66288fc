//! Parsers of kernel text. All take bytes: a process chooses its name, so nothing here is UTF-8.

mod cgroup;
mod link;
mod mountinfo;
mod proc_event;
mod stat;
mod status;

pub use cgroup::{CgroupLine, parse_cgroup};
pub use link::parse_namespace_link;
pub use mountinfo::{CgroupMount, Hierarchy, parse_cgroup_mounts};
pub(crate) use proc_event::{CN_IDX_PROC, listen_request};
pub use proc_event::{ProcEvent, parse_proc_events};
pub use stat::{Stat, parse_stat};
pub use status::{Status, parse_status};

/// An unsigned decimal number and nothing else.
pub(crate) fn number<T: TryFrom<u64>>(text: &[u8]) -> Option<T> {
    if text.is_empty() {
        return None;
    }
    let mut value: u64 = 0;
    for byte in text {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    T::try_from(value).ok()
}

/// Text without the line end that some kernel files have and others lack.
pub(crate) fn trimmed(text: &[u8]) -> &[u8] {
    text.strip_suffix(b"\n").unwrap_or(text)
}

/// What a process chose, made harmless for terminals, logs and documents.
pub(crate) fn escaped(text: &[u8]) -> String {
    text.escape_ascii().to_string()
}
