//! Exit codes of `rustbox run`: an interface, so they are named, documented and never renumbered.

/// Exit codes of `rustbox run` other than the payload's own.
#[derive(Debug)]
pub struct ExitCode;

impl ExitCode {
    /// The worker is quarantined; nothing was created.
    pub const QUARANTINED: u8 = 120;
    /// Something of the box was found where it must not be.
    pub const CONTAINMENT_VIOLATION: u8 = 121;
    /// Refused in strict mode: a control is missing on this host, or was switched off.
    pub const CONTROL_MISSING: u8 = 122;
    /// A time limit or the output limit ended the payload.
    pub const LIMIT: u8 = 124;
    /// Rustbox itself failed, or was misused.
    pub const INTERNAL: u8 = 125;
    /// The program is there but cannot be executed.
    pub const NOT_EXECUTABLE: u8 = 126;
    /// The program was not found in the box.
    pub const NOT_FOUND: u8 = 127;
    /// Added to a signal's number.
    pub const SIGNAL_BASE: u8 = 128;
}
