//! The proof of containment as data: what was tried, what was seen, what it proves.

mod part;

pub use part::{PART_SCHEMA, PROOF_DIR, Part, Planted, Skipped};
