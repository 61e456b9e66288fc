//! The rustbox command.
fn main() {}
