//! The stages of the protocol, as sections of a supervisor's trace.

use crate::driver::{Boundary, Call, Recorded};

/// What a supervisor does from one landmark to the next.
#[derive(Clone, Debug)]
pub struct ProtocolStage {
    /// What it is called in the figures.
    pub name: &'static str,
    /// The calls before which the supervisor can be killed in this stage.
    pub boundaries: Vec<Boundary>,
}

/// The call with which a stage begins, and what it works on; of several such calls the first after the stage before.
const LANDMARKS: [(&str, &str, &str); 9] = [
    ("locking", "mkdirat", "{box}"),
    ("recorded", "renameat2", "lock"),
    ("cgroups", "mkdirat", "rustbox-{box}"),
    ("held", "clone3", ""),
    ("released", "renameat", "marks"),
    ("killing", "pidfd_send_signal", ""),
    ("reaped", "waitid", ""),
    ("removing", "unlinkat", "rustbox-{box}"),
    ("removed", "unlinkat", "{box}"),
];

/// Divides the trace of a supervisor's run of a box whose id begins with `prefix`.
///
/// # Panics
/// When the trace has no such landmark: then the protocol is another one.
#[must_use]
pub fn protocol_stages(calls: &[Recorded], prefix: &str) -> Vec<ProtocolStage> {
    let mut stages = vec![ProtocolStage { name: "unlocked", boundaries: Vec::new() }];
    let mut landmarks =
        LANDMARKS.iter().map(|(name, call, operand)| (*name, Call::named(call), operand.replace("{box}", prefix)));
    let mut next = landmarks.next();
    for call in calls {
        if let Some((name, landmark, operand)) = &next
            && call.boundary.call == *landmark
            && call.operand.starts_with(operand)
        {
            stages.push(ProtocolStage { name, boundaries: Vec::new() });
            next = landmarks.next();
        }
        let stage = stages.last_mut().expect("the first stage");
        stage.boundaries.push(call.boundary);
    }
    assert!(next.is_none(), "the trace of a supervisor does not come to {next:?}");
    stages
}
