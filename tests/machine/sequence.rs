//! Random sequences of actions for proptest, each of which can be done where it stands; and how one is shortened.

use proptest::prelude::Rng;
use proptest::strategy::{NewTree, Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use super::world::{Act, World};

/// Sequences of so many actions at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sequences {
    pub(crate) longest: usize,
}

impl Strategy for Sequences {
    type Tree = Sequence;
    type Value = Vec<Act>;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Self> {
        let mut draw = |below: usize| usize::try_from(runner.rng().next_u64() % below.max(1) as u64).unwrap_or(0);
        let length = 1 + draw(self.longest);
        let mut world = World::new();
        let mut acts = Vec::with_capacity(length);
        while acts.len() < length {
            let choices = world.choices();
            let act = choices[draw(choices.len())];
            world = world.after(act);
            acts.push(act);
        }
        Ok(Sequence { without: acts.len(), acts, before: None })
    }
}

/// A sequence that is shortened by one action at a time, the last one first.
#[derive(Debug)]
pub(crate) struct Sequence {
    acts: Vec<Act>,
    /// What it was before the last action was taken out.
    before: Option<Vec<Act>>,
    /// Whoever stands before this was not tried yet.
    without: usize,
}

impl ValueTree for Sequence {
    type Value = Vec<Act>;

    fn current(&self) -> Vec<Act> {
        self.acts.clone()
    }

    fn simplify(&mut self) -> bool {
        while self.without > 0 {
            self.without -= 1;
            let mut shorter = self.acts.clone();
            shorter.remove(self.without);
            if !shorter.is_empty() && can_be_done(&shorter) {
                self.before = Some(std::mem::replace(&mut self.acts, shorter));
                return true;
            }
        }
        false
    }

    /// That one is needed: it comes back, and the next one is tried.
    fn complicate(&mut self) -> bool {
        let Some(before) = self.before.take() else { return false };
        self.acts = before;
        self.simplify()
    }
}

fn can_be_done(acts: &[Act]) -> bool {
    let mut world = World::new();
    acts.iter().all(|act| {
        let can = world.choices().contains(act);
        world = world.after(*act);
        can
    })
}
