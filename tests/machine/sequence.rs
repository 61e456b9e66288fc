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
        Ok(Sequence { without: acts.len(), width: WIDEST, acts, before: None })
    }
}

/// So many neighbours are taken out at once at first: a run and its end belong together.
const WIDEST: usize = 2;

/// A sequence that is shortened by two actions at a time, then by one, the last ones first.
#[derive(Debug)]
pub(crate) struct Sequence {
    acts: Vec<Act>,
    /// What it was before the last actions were taken out.
    before: Option<Vec<Act>>,
    /// Whoever stands before this was not tried yet.
    without: usize,
    width: usize,
}

impl ValueTree for Sequence {
    type Value = Vec<Act>;

    fn current(&self) -> Vec<Act> {
        self.acts.clone()
    }

    fn simplify(&mut self) -> bool {
        // The last attempt made it shorter, so that what was needed may not be any more.
        if self.before.take().is_some() {
            (self.without, self.width) = (self.acts.len(), WIDEST);
        }
        self.attempt()
    }

    /// Those are needed: they come back, and the next ones are tried.
    fn complicate(&mut self) -> bool {
        let Some(before) = self.before.take() else { return false };
        self.acts = before;
        self.attempt()
    }
}

impl Sequence {
    fn attempt(&mut self) -> bool {
        loop {
            while self.without > 0 {
                self.without -= 1;
                let end = (self.without + self.width).min(self.acts.len());
                let mut shorter = self.acts.clone();
                shorter.drain(self.without..end);
                if !shorter.is_empty() && can_be_done(&shorter) {
                    self.before = Some(std::mem::replace(&mut self.acts, shorter));
                    return true;
                }
            }
            if self.width == 1 {
                return false;
            }
            (self.without, self.width) = (self.acts.len(), self.width - 1);
        }
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
