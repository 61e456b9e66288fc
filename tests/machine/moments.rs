//! Where in a real run somebody has come as far as in a state of the model.

use rustbox_model::{InitStage, Keeper, Supervisor};
use rustbox_tests::{Boundary, BoxCommand, Drive, Fault, Lab, Role, wait_clean};

use crate::history::{Came, steps};
use crate::machine::world::SUPERVISORS;

/// Calls before which a process is killed that has come so far, and no farther.
#[derive(Debug)]
pub(crate) struct Moments {
    supervisor: Vec<(Supervisor, Boundary)>,
    init: Vec<(InitStage, Boundary)>,
    keeper: Vec<(Keeper, Boundary)>,
}

/// Where a keeper halts, and what its next call would have led to. That it has seen the box empty and that it has removed it
/// are one call.
const NEXT_OF_KEEPERS: [(Keeper, Keeper); 3] =
    [(Keeper::Watching, Keeper::Killed), (Keeper::Empty, Keeper::Empty), (Keeper::Ungrouped, Keeper::Gone)];

/// A box whose payload ends at once, and leaves orphans.
pub(crate) fn short(command: BoxCommand<'_>) -> BoxCommand<'_> {
    command.attack("contain_pdeathsig_cleared", &[]).flags(["--quiet"])
}

impl Moments {
    /// Reads them from a run to which nothing is done, and from one whose supervisor is killed.
    pub(crate) fn find(lab: &Lab) -> Self {
        let steps = traced(lab, &[Role::Supervisor, Role::Init], Vec::new());
        let came: Vec<(Supervisor, Boundary)> = steps.iter().filter_map(of_supervisor).collect();
        let next = |at: &Supervisor| {
            let here = came.iter().position(|(came, _)| came == at).expect("a stage of the supervisor");
            (*at, came[here + 1].1)
        };
        let supervisor: Vec<_> = SUPERVISORS.iter().map(next).collect();
        let init = steps
            .iter()
            .filter_map(of_init)
            .scan(InitStage::Born, |before, (came, boundary)| Some((std::mem::replace(before, came), boundary)));
        let init: Vec<_> = init.collect();
        let released = supervisor.iter().find(|(at, _)| *at == Supervisor::Released).expect("a release").1;
        let steps = traced(lab, &[Role::Keeper], vec![(released, Fault::Kill)]);
        let until = |(at, next): &(Keeper, Keeper)| {
            let found = steps.iter().find(|(came, _)| *came == Came::Keeper(*next));
            (*at, found.unwrap_or_else(|| panic!("no {next:?} of the keeper in {steps:?}")).1)
        };
        Self { supervisor, init, keeper: NEXT_OF_KEEPERS.iter().map(until).collect() }
    }

    pub(crate) fn of_supervisor(&self, at: Supervisor) -> Boundary {
        found(&self.supervisor, at)
    }

    pub(crate) fn of_init(&self, at: InitStage) -> Boundary {
        found(&self.init, at)
    }

    pub(crate) fn of_keeper(&self, at: Keeper) -> Boundary {
        found(&self.keeper, at)
    }
}

fn found<T: PartialEq + std::fmt::Debug>(moments: &[(T, Boundary)], at: T) -> Boundary {
    moments.iter().find(|(known, _)| *known == at).unwrap_or_else(|| panic!("no moment for {at:?}")).1
}

fn traced(lab: &Lab, roles: &[Role], faults: Vec<(Boundary, Fault)>) -> Vec<(Came, Boundary)> {
    let command = short(lab.a_box());
    let driven = command.drive(&Drive { faults, record: roles.to_vec(), ..Drive::default() });
    let left = wait_clean(command.box_id(), &lab.state_dir());
    assert!(driven.reached() && left.is_empty(), "{driven:?} {left:?}");
    steps(&driven.calls)
}

fn of_supervisor((came, boundary): &(Came, Boundary)) -> Option<(Supervisor, Boundary)> {
    if let Came::Supervisor(stage) = came { Some((*stage, *boundary)) } else { None }
}

fn of_init((came, boundary): &(Came, Boundary)) -> Option<(InitStage, Boundary)> {
    if let Came::Init(stage) = came { Some((*stage, *boundary)) } else { None }
}
