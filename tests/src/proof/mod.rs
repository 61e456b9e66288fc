//! The proof of containment: attacks of a table, each with its control, and parts that sweep, race or model.

mod attack;
mod fixture;
mod judge;
mod oracle;
mod part;
mod parts;
mod report;
mod run;
mod summary;
mod table;
mod words;

pub use attack::{Extra, assert_holds, make};
pub use judge::{Seen, SeenControl, judge_box, judge_control};
pub use oracle::{HostSight, hex};
pub use part::{PART_SCHEMA, PROOF_DIR, Part, Planted, Skipped};
pub use parts::{Collected, PartProgram, part_programs, run_program};
pub use report::{Attack, HostComparison, HostRun, Outcome, PROOF_SCHEMA, Parity, Proof, proof_schema};
pub use run::{Plan, Tell, run_host, tell_part};
pub use summary::{markdown_table, summary};
pub use table::{Case, Control, Ends, Expect, Fact, Family, Fixture, Payload, Place, Sees, payload_table};
