//! Support for the tests of the whole program: real boxes on the real kernel, judged from outside.
//!
//! A test opens a [`Lab`], runs boxes in it through the `rustbox` command, and compares three things:
//! what the report says, what the payload printed, and what the [`residue`] oracle reads from the
//! kernel without asking rustbox. The same payload in a [`Pen`] is the control: there its attack must
//! succeed.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::missing_panics_doc,
    reason = "a harness reports a broken host by failing the test, and its findings on stderr"
)]

mod attacks;
mod binary;
mod canary;
mod clock;
mod dead_box;
mod driver;
mod ended;
mod errors;
mod fingerprint;
mod host;
mod lab;
mod orphans;
mod payload;
mod pen;
mod pidfd;
mod prepared;
mod process;
mod progress;
pub mod proof;
mod protocol;
mod random;
mod residue;
mod skip;
mod sweep;
mod truth;
mod watchdog;
mod wreck;

pub use attacks::{attack_that_stays, attack_that_tells};
pub use binary::{build_planted, rustbox};
pub use canary::Canary;
pub use dead_box::{DeadBox, forged_record};
pub use driver::{Boundary, Call, Drive, Driven, End, Fault, How, Recorded, Role};
pub use ended::EndedBox;
pub use errors::{failures_of, is_security_relevant};
pub use fingerprint::{Fingerprint, fingerprint_of};
pub use host::{CgroupLayout, HostState};
pub use lab::{BoxCommand, Lab, RunningBox};
pub use orphans::{adopt_orphans, children_left, reap_orphans};
pub use payload::{NOT_IN_BOX, payload, payload_dir};
pub use pen::{Pen, PenReport, PenSurvivor};
pub use pidfd::{PidFd, wait_until};
pub use process::{SeenProcess, scan};
pub use progress::Progress;
pub use protocol::{ProtocolStage, protocol_stages};
pub use random::Random;
pub use residue::{BOUND, processes_of, residue, wait_clean, wait_dead};
pub use skip::{how_often, in_ci, in_guest, skip_unless};
pub use sweep::{Sweep, Trial, full};
pub use truth::{Killed, untruths};
pub use wreck::clear_wreck;
