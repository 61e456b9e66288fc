//! Processes that are nobody's, with all that a box leaves in the hands of strangers.

use rustbox_audit::{Phase, PidNamespaceMark, ProcFile};
use rustbox_core::{FindingKind, ProcessKey};

use super::{Director, SESSION_UNSET};
use crate::world::{Life, Place, State, Target, UID_FIRST};

impl Director<'_> {
    pub(super) fn stranger(&mut self) {
        let comm = self.comm();
        let process = self.host_process(comm);
        self.world.processes.push(process);
    }

    pub(super) fn stranger_named(&mut self) {
        let process = self.host_process(b"rustbox-init".to_vec());
        self.world.processes.push(process);
    }

    pub(super) fn container(&mut self) {
        let namespace = self.namespace();
        for pid_inside in 1..=2 {
            let mut process = self.host_process(b"nginx".to_vec());
            process.lineage = vec![namespace];
            process.pid_inside = pid_inside;
            self.world.processes.push(process);
        }
    }

    pub(super) fn recorded_pid(&mut self, older_by: u64) {
        let index = self.add_box(Phase::Abandoned);
        let process = self.host_process(b"rustbox-init".to_vec());
        self.hazard(if older_by == 0 { "same pid and start time" } else { "pid reuse" });
        let init = ProcessKey { pid: process.pid, starttime_ticks: process.start - older_by };
        self.world.boxes[index].marks.init = Some(init);
        self.world.processes.push(process);
    }

    pub(super) fn recycled_namespace(&mut self) {
        let index = self.add_box(Phase::Abandoned);
        let namespace = self.world.boxes[index].marks.pid_namespace.as_ref().unwrap().inode();
        self.world.boxes[index].marks.init = Some(ProcessKey { pid: 999, starttime_ticks: 99_000 });
        self.hazard("recycled namespace number");
        for pid_inside in 1..=2 {
            let mut process = self.host_process(b"nginx".to_vec());
            process.lineage = vec![namespace];
            process.pid_inside = pid_inside;
            self.world.processes.push(process);
        }
    }

    pub(super) fn leased_uid(&mut self) {
        let mut process = self.host_process(b"cron".to_vec());
        process.uid = UID_FIRST + 900;
        self.hazard("foreign process with a leased uid");
        self.world.processes.push(process);
        self.expect(FindingKind::CoverageGap, self.world.processes.len() - 1);
    }

    /// Its link is forbidden, and its `status` shows that it has one pid: that of the host's namespace.
    pub(super) fn privileged(&mut self) {
        let mut process = self.host_process(b"init".to_vec());
        for state in process.states.iter_mut().flatten() {
            state.denied = Some(ProcFile::PidNamespace);
        }
        self.world.processes.push(process);
    }

    pub(super) fn unreadable(&mut self) {
        let mut process = self.host_process(b"secret".to_vec());
        process.lineage = vec![self.namespace()];
        for state in process.states.iter_mut().flatten() {
            state.denied = Some(ProcFile::PidNamespace);
        }
        self.hazard("unreadable");
        self.world.processes.push(process);
        self.world.expected.push((FindingKind::CoverageGap, Target::Nothing));
    }

    pub(super) fn ending_stranger(&mut self) {
        let mut process = self.host_process(b"make".to_vec());
        for state in process.states.iter_mut().flatten() {
            state.ends_after = Some(usize::try_from(self.dice.below(4)).unwrap());
        }
        self.hazard("ends while it is read");
        self.world.processes.push(process);
    }

    pub(super) fn pid_given_away(&mut self) {
        let index = self.add_box(Phase::Abandoned);
        self.world.boxes[index].marks.audit_session = Some(50 + u32::try_from(index).unwrap());
        self.add_member(index, vec![None; 3]);
        let alive = Some(State::new(Life::Alive, Place::Root));
        let first = self.add_member(index, vec![alive, None, None]);
        // The same pid, a moment later: of the same dead box once more, and then a stranger's.
        let pid = self.world.processes[first].pid;
        let second = self.add_member(index, vec![None, alive, None]);
        let mut stranger = self.host_process(b"bash".to_vec());
        stranger.states = vec![None, None, alive];
        (self.world.processes[second].pid, stranger.pid) = (pid, pid);
        self.world.processes.push(stranger);
        self.hazard("pid reuse");
    }

    pub(super) fn earlier_boot(&mut self) {
        let index = self.add_box(Phase::EarlierBoot);
        self.world.boxes[index].marks.record = Some("/state/b".into());
        self.world.boxes[index].record_is_there = true;
        // What it recorded names others now.
        let mut process = self.host_process(b"bash".to_vec());
        let marks = &self.world.boxes[index].marks;
        process.lineage = marks.pid_namespace.iter().map(PidNamespaceMark::inode).collect();
        process.session = marks.audit_session.unwrap_or(SESSION_UNSET);
        process.pid_inside = 1;
        self.hazard("marks from an earlier boot");
        self.world.processes.push(process);
        self.world.expected.push((FindingKind::StaleState, Target::Leftover(index)));
    }
}
