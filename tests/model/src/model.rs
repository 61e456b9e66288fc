//! The protocol as a Stateright model.

use stateright::{Model, Property};

use crate::properties::broken;
use crate::state::{Action, State};
use crate::step::Protocol;

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self.crashes, 1)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend(Self::candidates().filter(|action| self.step(state, *action).is_some()));
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        self.step(state, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("every promise is kept", |protocol: &Self, state| broken(protocol, state).is_none()),
            // Else the promises would be kept by a model in which nothing ever happens.
            Property::sometimes("a box runs, and is gone, and said to be", |_: &Self, state: &State| {
                state.supervisors[0] == crate::Supervisor::Reported && state.inits[0].stage == crate::InitStage::Dead
            }),
            Property::sometimes("what two deaths left is recovered", |_: &Self, state: &State| {
                state.supervisors[0] == crate::Supervisor::Dead
                    && state.keeper_died[0]
                    && state.supervisors[1] == crate::Supervisor::RecoveryUngrouped
            }),
        ]
    }
}
