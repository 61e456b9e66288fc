//! The protocol's model: explored completely, none of its steps superfluous, and real runs are among its histories.

use std::time::Instant;

use history::{Came, steps};
use rustbox_model::{Action, InitStage, Keeper, Protocol, State, Step, Supervisor, broken};
use rustbox_tests::proof::{Part, Planted};
use rustbox_tests::{Boundary, Drive, Fault, Lab, Recorded, Role, wait_clean};
use stateright::{Checker, Model};

mod history;

/// Deaths in one history: supervisor, keeper and init of one box, and the supervisor that recovers it.
const CRASHES: u8 = 4;
const PROMISES: &str = "every promise is kept";

#[test]
fn every_promise_is_kept_in_every_state_of_the_model() {
    let begun = Instant::now();
    let claim = "no history of two supervisors, four deaths and one mishap breaks a promise of the protocol";
    let mut part = Part::new("model", claim, &["S12", "QR03"]);
    let protocol = Protocol::whole(CRASHES);
    let checker = protocol.checker().spawn_bfs().join();
    assert!(checker.is_done());
    let states = checker.unique_state_count();
    eprintln!("model: {states} states, {} looked at, in {:?}", checker.state_count(), begun.elapsed());
    part.figures.insert("states".to_owned(), states.to_string());
    part.figures.insert("transitions".to_owned(), checker.state_count().to_string());
    let found = checker.discovery(PROMISES).map(|path| {
        let last = path.last_state().clone();
        format!("{:?} after {:?}", broken(&protocol, &last), path.into_actions())
    });
    for _ in 1..states {
        part.count(Ok(()));
    }
    part.count(found.clone().map_or(Ok(()), Err));
    for step in Step::ALL {
        let planted = without(step);
        eprintln!("without {step:?}: {}", planted.detail);
        part.planted.push(planted);
    }
    part.seconds = begun.elapsed().as_secs_f64();
    part.publish();
    assert_eq!(found, None);
    checker.assert_properties();
    assert_eq!(part.objections(), [""; 0]);
    assert!(states > 50_000, "only {states} states");
}

/// Explores the protocol without one step: somebody must miss it.
fn without(step: Step) -> Planted {
    let protocol = Protocol { without: Some(step), crashes: CRASHES };
    let checker = protocol.checker().spawn_bfs().join();
    let path = checker.discovery(PROMISES);
    let detail = path.as_ref().map_or("nobody misses it".to_owned(), |path| {
        format!("{:?} in {} steps", broken(&protocol, path.last_state()), path.clone().into_actions().len())
    });
    Planted { bug: format!("without {step:?}"), turned_red: path.is_some(), detail }
}

/// What a trace says, in its order.
fn told(calls: &[Recorded]) -> Vec<Came> {
    steps(calls).into_iter().map(|(came, _)| came).collect()
}

/// Replays a run in the model; why it is none of its histories, if it is not.
fn replay(told: &[Came]) -> Result<State, String> {
    let protocol = Protocol::whole(1);
    let mut state = State::new(1, 0);
    for came in told {
        let action = match came {
            Came::Supervisor(Supervisor::Dead) => Action::KillSupervisor(0),
            Came::Supervisor(_) => Action::Supervise(0),
            Came::Keeper(_) => Action::Keep(0),
            Came::Init(InitStage::Dead) => Action::Die(0),
            Came::Init(_) => Action::Init(0),
        };
        let next = protocol.step(&state, action);
        state = next.ok_or_else(|| format!("{came:?} cannot happen in {state:?}"))?;
        let there = match came {
            Came::Supervisor(expected) => state.supervisors[0] == *expected,
            Came::Keeper(expected) => state.keepers[0] == *expected,
            Came::Init(expected) => state.inits[0].stage == *expected,
        };
        if !there {
            return Err(format!("{came:?} is not what the model does: {state:?}"));
        }
        if let Some(promise) = broken(&protocol, &state) {
            return Err(format!("{promise:?} in {state:?}"));
        }
    }
    Ok(state)
}

fn trace(lab: &Lab, faults: Vec<(Boundary, Fault)>) -> Vec<Recorded> {
    let command = lab.a_box().attack("contain_fingerprint", &[]);
    let record = vec![Role::Supervisor, Role::Init, Role::Keeper];
    let driven = command.drive(&Drive { faults, record, ..Drive::default() });
    let left = wait_clean(command.box_id(), &lab.state_dir());
    assert!(left.is_empty() && driven.reached(), "{left:#?}");
    driven.calls
}

#[test]
fn real_runs_are_histories_of_the_model() {
    let lab = Lab::open("model");
    let calls = trace(&lab, Vec::new());
    let end = replay(&told(&calls)).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!((end.supervisors[0], end.inits[0].stage), (Supervisor::Reported, InitStage::Dead), "{:?}", told(&calls));
    // One that dies before it kills, so that its keeper does everything.
    let kill = steps(&calls).into_iter().find(|(came, _)| *came == Came::Supervisor(Supervisor::Killed));
    let boundary = kill.expect("the kill").1;
    let mut cut = trace(&lab, vec![(boundary, Fault::Kill)]);
    // The call before which it was killed was not made.
    cut.retain(|call| call.boundary != boundary);
    let end = replay(&told(&cut)).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!((end.keepers[0], end.record, end.cgroup), (Keeper::Gone, None, None), "{:?}", told(&cut));
    eprintln!("model: a run of {} calls and one of {} calls with a death are histories of it", calls.len(), cut.len());
}

#[test]
fn a_run_without_a_step_is_no_history_of_the_model() {
    let lab = Lab::open("model-cut");
    let told = told(&trace(&lab, Vec::new()));
    assert!(told.len() > 15, "{told:?}");
    for left_out in 0..told.len() {
        let mut without = told.clone();
        let step = without.remove(left_out);
        // A run that is ended before its payload begins is one.
        if step == Came::Init(InitStage::Running) {
            continue;
        }
        let ends_well = replay(&without).is_ok_and(|end| end.supervisors[0] == Supervisor::Reported);
        assert!(!ends_well, "nobody notices that {step:?} is missing");
    }
}
