//! What holds on the cgroups of a real host, on every backend that it has. Needs root.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "every function of this program is a test or serves one, and skips are named"
)]

mod attach;
mod attacks;
mod common;
mod lifecycle;
mod refusals;
