//! Boxes that somebody owns: being born, running, ending, and with somebody outside.

use rustbox_audit::Phase;
use rustbox_core::{FindingKind, ProcessKey};

use super::Director;
use crate::world::{Life, Place, Shape, State};

impl Director<'_> {
    /// A live box: an init inside, and a payload at these places, relative to its own box.
    pub(super) fn live(&mut self, places: &[Place; 3], finding: Option<FindingKind>) {
        let index = self.add_box(Phase::Live);
        self.add_member(index, self.always(Life::Alive, Place::In(index)));
        let own = |place: &Place| match place {
            Place::In(_) => Place::In(index),
            Place::Partly(_) => Place::Partly(index),
            Place::Root => Place::Root,
        };
        let states = places.iter().map(|place| Some(State::new(Life::Alive, own(place)))).collect();
        let payload = self.add_member(index, states);
        if let Some(kind) = finding {
            self.expect(kind, payload);
        }
    }

    pub(super) fn live_outside(&mut self) {
        self.live(&[Place::Root; 3], Some(FindingKind::OrphanDetected));
    }

    pub(super) fn live_partly(&mut self) {
        if self.world.shape == Shape::V2 {
            return self.live_outside();
        }
        self.live(&[Place::In(0), Place::Partly(0), Place::Partly(0)], Some(FindingKind::OrphanDetected));
    }

    pub(super) fn live_and_back(&mut self) {
        self.live(&[Place::In(0), Place::Root, Place::In(0)], Some(FindingKind::TransientEscape));
    }

    pub(super) fn live_and_gone(&mut self) {
        let index = self.add_box(Phase::Live);
        self.add_member(index, self.always(Life::Alive, Place::In(index)));
        let outside = Some(State::new(Life::Alive, Place::Root));
        let payload = self.add_member(index, vec![outside, None, None]);
        self.expect(FindingKind::TransientEscape, payload);
    }

    pub(super) fn birth(&mut self) {
        let index = self.add_box(Phase::Live);
        let place = [Place::Root, Place::Partly(index), Place::In(index)];
        let states = place.map(|place| Some(State::new(Life::Alive, place))).to_vec();
        let init = self.add_member(index, states);
        // Younger than the patience for births: 5 s before the first look.
        self.world.processes[init].start = 500_000 - 100;
        self.world.boxes[index].marks.init =
            Some(ProcessKey { pid: self.world.processes[init].pid, starttime_ticks: 500_000 - 100 });
        self.world.boxes[index].directories = vec![true; 3];
        self.hazard("birth");
    }

    pub(super) fn birth_unrecorded(&mut self) {
        self.birth();
        let marks = &mut self.world.boxes.last_mut().unwrap().marks;
        (marks.pid_namespace, marks.audit_session, marks.init, marks.uid) = (None, None, None, None);
    }

    /// A child that is listed before the kernel has put it into its parent's cgroups.
    pub(super) fn newborn(&mut self) {
        let index = self.add_box(Phase::Live);
        self.add_member(index, self.always(Life::Alive, Place::In(index)));
        let inside = Place::In(index);
        let state = |life| Some(State::new(life, inside));
        let after = if self.dice.one_in(2) { state(Life::Alive) } else { None };
        let look = usize::try_from(self.dice.below(3)).unwrap();
        let mut states = vec![None; 3];
        states[look] = state(Life::Newborn);
        states[look + 1..].fill(after);
        self.add_member(index, states);
        self.hazard("being born: cgroup reads /");
    }

    pub(super) fn nested(&mut self, phase: Phase) {
        let index = self.add_box(phase);
        self.world.boxes[index].marks.audit_session = None;
        self.add_member(index, self.always(Life::Alive, Place::In(index)));
        // On an abandoned box it is known by its lineage alone: outside the cgroup, and no session.
        let place = if phase == Phase::Live { Place::In(index) } else { Place::Root };
        let inner = self.add_member(index, self.always(Life::Alive, place));
        let (outer, nested) = (self.world.processes[inner].lineage[0], self.namespace());
        self.world.processes[inner].lineage = vec![nested, outer];
        self.world.processes[inner].pid_inside = 1;
        self.hazard("nested namespace");
        if phase == Phase::Abandoned {
            self.expect(FindingKind::OrphanDetected, inner - 1);
            self.expect(FindingKind::OrphanDetected, inner);
            self.expect_leftovers(index);
        }
    }

    pub(super) fn namespace_escape(&mut self) {
        let index = self.add_box(Phase::Live);
        self.world.boxes[index].marks.audit_session = Some(50 + u32::try_from(index).unwrap());
        self.add_member(index, self.always(Life::Alive, Place::In(index)));
        let escaped = self.add_member(index, self.always(Life::Alive, Place::In(index)));
        self.world.processes[escaped].lineage.clear();
        self.expect(FindingKind::OrphanDetected, escaped);
    }

    pub(super) fn ends(&mut self) {
        let index = self.add_box(Phase::Live);
        let alive = State::new(Life::Alive, Place::In(index));
        let inside = Some(alive);
        let zombie = Some(State::new(Life::Zombie, Place::In(index)));
        let cut = Some(State { ends_after: Some(usize::try_from(self.dice.below(12)).unwrap()), ..alive });
        self.add_member(index, vec![inside, zombie, None]);
        self.add_member(index, vec![cut, None, None]);
        self.world.boxes[index].known_in = vec![true, true, false];
        self.world.boxes[index].directories = vec![true, false, false];
        self.hazard("ends while it is read");
        self.hazard("death");
    }

    pub(super) fn begins(&mut self) {
        let index = self.add_box(Phase::Live);
        let inside = Some(State::new(Life::Alive, Place::In(index)));
        self.add_member(index, vec![None, inside, inside]);
        // Alive before the registry could name its box: seen with a leased uid and nothing else, once.
        self.add_member(index, vec![inside, inside, inside]);
        self.world.boxes[index].known_in = vec![false, true, true];
        self.hazard("birth");
    }
}
