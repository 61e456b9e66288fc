//! A worker that is taken out, recovers and is put back, by the program's own commands on the real host.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers as well")]

#[path = "../cli/sandbox.rs"]
#[expect(dead_code, reason = "the other tests of this program use the rest of it")]
mod sandbox;

mod many;
mod operator;
mod runbooks;
mod served;
