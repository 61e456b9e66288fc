//! Other limits for a box that exists already, and waits.

use rustbox_core::{Limits, Mode};

use crate::create::{Held, apply};
use crate::error::Error;
use crate::group::BoxCgroup;
use crate::plan::{Setting, settings};

impl BoxCgroup {
    /// Reads every limit, writes those that are not as wanted, and reads these back; [`Self::applied`] then names them
    /// all.
    ///
    /// The box must have been created with limits of the same kinds: it gets no directory that it does not have.
    /// Open, read and close for each limit; a write and another read where it changes.
    ///
    /// # Errors
    /// As [`Hierarchies::create`](crate::Hierarchies::create). Some limits may then be the new ones and some the old
    /// ones: such a box must not be used.
    pub fn set_limits(&mut self, limits: &Limits, mode: Mode) -> Result<(), Error> {
        let mems = self.root_mems(limits)?;
        let mut settings = settings(&self.layout, limits, mems);
        self.order(&mut settings, limits);
        let mut applied = Vec::with_capacity(self.applied.len());
        for setting in &settings {
            let Some(dir) = self.dirs.iter().find(|dir| dir.root == setting.root) else { continue };
            applied.extend(apply(dir, setting, mode, Held::Perhaps)?);
        }
        let is_anew = |control: &str| settings.iter().any(|setting| setting.control == Some(control));
        applied.extend(self.applied.drain(..).filter(|old| !is_anew(&old.control)));
        self.applied = applied;
        Ok(())
    }

    /// On v1 memory with swap may at no time be less than memory alone: who raises both begins with the larger one.
    fn order(&self, settings: &mut [Setting], limits: &Limits) {
        let old = self.applied.iter().find(|old| old.control == "memory").and_then(|old| old.read_back.parse().ok());
        let raises = old.is_none_or(|old: u64| old < limits.memory.bytes());
        if raises
            && let [memory, swap, ..] = settings
            && swap.attr == "memory.memsw.limit_in_bytes"
        {
            std::mem::swap(memory, swap);
        }
    }
}
