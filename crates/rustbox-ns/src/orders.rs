//! What the process is told that becomes the payload: by its blueprint, or by a job that came later.

use std::ffi::CStr;
use std::os::fd::RawFd;

use rustbox_core::WaitFor;

use crate::blueprint::{Blueprint, Limit};
use crate::sys::ExecArray;

/// Everything that may differ between two runs of boxes that are otherwise the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Orders<'a> {
    pub(crate) stdio: [Option<RawFd>; 3],
    pub(crate) rlimits: &'a [Limit],
    pub(crate) cwd: &'a CStr,
    /// Paths to try, each with its NUL.
    pub(crate) candidates: &'a [u8],
    pub(crate) argv: ExecArray<'a>,
    pub(crate) envp: ExecArray<'a>,
    pub(crate) wait: WaitFor,
    pub(crate) backstop_ns: Option<u64>,
}

impl<'a> Orders<'a> {
    /// Those of a box that knows its program from the start.
    pub(crate) fn of(blueprint: &'a Blueprint) -> Self {
        let payload = &blueprint.payload;
        Self {
            stdio: payload.stdio,
            rlimits: &payload.rlimits,
            cwd: &payload.cwd,
            candidates: &payload.candidates,
            argv: payload.argv.array(),
            envp: payload.envp.array(),
            wait: blueprint.wait,
            backstop_ns: blueprint.backstop_ns,
        }
    }
}
