//! Boxes that nobody owns any more, and what is left of them.

use rustbox_audit::Phase;
use rustbox_core::{FindingKind, ProcessKey};

use super::{Director, SESSION_UNSET};
use crate::world::{Life, Place, State};

impl Director<'_> {
    pub(super) fn dying(&mut self) {
        let index = self.add_box(Phase::Live);
        self.add_member(index, self.always(Life::Alive, Place::In(index)));
        let inside = Place::In(index);
        let state = |life| Some(State::new(life, inside));
        let second = *self.dice.pick(&[Life::Dying, Life::Zombie]);
        let mut states = vec![state(Life::Alive), state(second), None];
        if second == Life::Dying && self.dice.one_in(3) {
            // Its init has to reap it, and has had no time yet: an auditor looks again.
            states[2] = state(Life::Zombie);
            self.world.may_be_unsettled = true;
        }
        let payload = self.add_member(index, states);
        // The payload's own child: nobody of ours has to reap it while the box runs.
        let parent = self.world.processes[payload].pid;
        let child = self.add_member(index, self.always(Life::Zombie, inside));
        self.world.processes[child].ppid = parent;
        self.hazard("exiting: cgroup reads / on v1");
    }

    /// Its supervisor is gone, and the kernel has sent SIGKILL to what it left: nobody escaped.
    pub(super) fn killed(&mut self) {
        let index = self.add_box(Phase::Abandoned);
        let state = |life| Some(State::new(life, Place::In(index)));
        let states = vec![state(Life::Killed), state(Life::Killed), None];
        self.add_member(index, states.clone());
        self.add_member(index, states);
        self.hazard("SIGKILL is pending");
    }

    pub(super) fn leader_dead(&mut self, phase: Phase) {
        let index = self.add_box(phase);
        self.add_member(index, self.always(Life::Alive, Place::In(index)));
        let payload = self.add_member(index, self.always(Life::LeaderDead, Place::In(index)));
        self.hazard("leader dead, threads alive");
        if phase == Phase::Abandoned {
            self.expect(FindingKind::OrphanDetected, payload - 1);
            self.expect(FindingKind::OrphanDetected, payload);
            self.expect_leftovers(index);
        }
    }

    /// A box that another team runs without a PID namespace.
    pub(super) fn session_only(&mut self, phase: Phase) {
        let index = self.add_box(phase);
        let session = 50 + u32::try_from(index).unwrap();
        let marks = &mut self.world.boxes[index].marks;
        (marks.pid_namespace, marks.audit_session, marks.init) = (None, Some(session), None);
        let place = if phase == Phase::Live { Place::In(index) } else { Place::Root };
        let payload = self.add_member(index, self.always(Life::Alive, place));
        if phase == Phase::Abandoned {
            self.expect(FindingKind::OrphanDetected, payload);
        }
    }

    pub(super) fn cgroup_only(&mut self) {
        let index = self.add_box(Phase::Abandoned);
        self.world.boxes[index].marks.init = Some(ProcessKey { pid: 999, starttime_ticks: 99_000 });
        let joined = self.add_member(index, self.always(Life::Alive, Place::In(index)));
        let process = &mut self.world.processes[joined];
        (process.uid, process.session, process.ppid) = (0, SESSION_UNSET, 1);
        process.lineage.clear();
        self.expect(FindingKind::OrphanDetected, joined);
        self.expect_leftovers(index);
    }

    pub(super) fn unowned(&mut self, phase: Phase, kind: FindingKind) {
        let index = self.add_box(phase);
        let inside = self.dice.one_in(2);
        let place = if inside { Place::In(index) } else { Place::Root };
        let init = self.add_member(index, self.always(Life::Alive, place));
        let payload = self.add_member(index, self.always(Life::Alive, place));
        self.expect(kind, init);
        self.expect(kind, payload);
        self.expect_leftovers(index);
    }

    pub(super) fn zombie(&mut self) {
        let index = self.add_box(Phase::Abandoned);
        // Its init is gone and it hangs on a parent outside, which can only be known by its session.
        self.world.boxes[index].marks.audit_session = Some(50 + u32::try_from(index).unwrap());
        self.add_member(index, vec![None; 3]);
        let dead = self.add_member(index, self.always(Life::Zombie, Place::In(index)));
        self.world.processes[dead].ppid = 1;
        self.hazard("zombie");
        self.expect(FindingKind::ZombieDetected, dead);
    }

    pub(super) fn fleeting(&mut self) {
        let index = self.add_box(Phase::Abandoned);
        self.world.boxes[index].marks.audit_session = Some(50 + u32::try_from(index).unwrap());
        self.add_member(index, vec![None; 3]);
        let mut last = 0;
        for look in 0..3 {
            let mut states = vec![None; 3];
            states[look] = Some(State::new(Life::Alive, Place::Root));
            last = self.add_member(index, states);
        }
        self.world.may_be_unsettled = true;
        self.expect(FindingKind::OrphanDetected, last);
    }

    pub(super) fn leftovers(&mut self) {
        let phase = *self.dice.pick(&[Phase::Abandoned, Phase::Closed]);
        let index = self.add_box(phase);
        self.world.boxes[index].marks.init = Some(ProcessKey { pid: 999, starttime_ticks: 99_000 });
        self.world.boxes[index].directories = vec![true; 3];
        self.expect_leftovers(index);
    }
}
