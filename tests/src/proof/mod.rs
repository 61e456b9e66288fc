//! The proof of containment: attacks of a table, each with its control, and parts that sweep, race or model.

mod attack;
mod fixture;
mod html;
mod judge;
mod junit;
mod oracle;
mod part;
mod parts;
mod report;
mod run;
mod statement;
mod summary;
mod table;
mod target;
mod words;

pub use attack::{Extra, assert_holds, make};
pub use html::html;
pub use judge::{Seen, SeenControl, judge_box, judge_control};
pub use junit::junit;
pub use oracle::{HostSight, hex};
pub use part::{PART_SCHEMA, PROOF_DIR, Part, Planted, Skipped};
pub use parts::{Collected, PartProgram, part_programs, run_program};
pub use report::{Attack, HostComparison, HostRun, Outcome, PROOF_SCHEMA, Parity, Proof, proof_schema};
pub use run::{Plan, Tell, run_host, tell_part};
pub use statement::statement;
pub use summary::{markdown_table, summary};
pub use table::{Case, Control, Ends, Expect, Fact, Family, Fixture, Payload, Place, Sees, payload_table};
pub use target::Target;
