//! Where tests run without the sources that they need.

use std::path::Path;

/// Whether the package's files and so a compiler for them can be expected; else says what is skipped.
///
/// The virtual machine's guest has the test programs alone. Anywhere else missing sources are a failure.
pub(crate) fn are_here(test: &str) -> bool {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seccomp_support").is_dir();
    if !here {
        eprintln!("skipped: {test}: the guest has the test programs without their sources");
        assert!(std::env::var_os("RUSTBOX_VM").is_some(), "{test}: the sources of this package are gone");
    }
    here
}
