//! The trials of a sweep, several at once, counted as one part of the proof.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::proof::{Part, Planted};
use crate::skip::in_guest;

/// Trials at once: they wait for the kernel more than they compute.
const WORKERS: usize = 3;
/// The same of trials that wait for a time limit.
const WAITERS: usize = 10;

/// Whether the sweeps do everything, and not a part of it that fits into CI. `RUSTBOX_SWEEP_FULL=1`.
#[must_use]
pub fn full() -> bool {
    std::env::var_os("RUSTBOX_SWEEP_FULL").is_some_and(|v| v == "1")
}

/// A sweep under way.
#[derive(Debug)]
pub struct Sweep {
    begun: Instant,
    count: Mutex<Count>,
}

#[derive(Debug)]
struct Count {
    part: Part,
    kinds: BTreeMap<String, usize>,
    missed: Vec<String>,
    wrong: Vec<String>,
    notes: BTreeMap<String, usize>,
}

/// What one trial came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trial {
    /// Every promise was kept.
    Held,
    /// These were broken.
    Broken(Vec<String>),
    /// The point was never reached: nothing is known.
    Missed,
}

impl Sweep {
    /// Begins one, which is this part of the proof.
    #[must_use]
    pub fn begin(name: &str, claim: &str, requirements: &[&str]) -> Self {
        let count = Count {
            part: Part::new(name, claim, requirements),
            kinds: BTreeMap::new(),
            missed: Vec::new(),
            wrong: Vec::new(),
            notes: BTreeMap::new(),
        };
        Self { begun: Instant::now(), count: Mutex::new(count) }
    }

    /// Makes a trial of each item, several at once; of a tenth of them where everything takes ten times as long.
    pub fn each<T: Sync>(&self, items: &[T], trial: impl Fn(&T) + Sync) {
        Self::at_once(WORKERS, items, trial);
    }

    /// The same for trials that mostly wait until somebody gives up.
    pub fn each_waiting<T: Sync>(&self, items: &[T], trial: impl Fn(&T) + Sync) {
        Self::at_once(WAITERS, items, trial);
    }

    fn at_once<T: Sync>(workers: usize, items: &[T], trial: impl Fn(&T) + Sync) {
        let step = if in_guest() { 10 } else { 1 };
        let items: Vec<&T> = items.iter().step_by(step).collect();
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                        trial(item);
                    }
                });
            }
        });
    }

    /// Counts a trial. `kind` groups it in the figures, `what` says what was done.
    pub fn count(&self, kind: impl Into<String>, what: &str, trial: Trial) {
        let mut count = self.locked();
        match trial {
            Trial::Held => count.part.count(Ok(())),
            Trial::Broken(promises) => {
                let told = promises.into_iter().map(|promise| format!("{what}: {promise}"));
                let told: Vec<String> = told.collect();
                count.part.count(Err(told.join("; ")));
                count.wrong.extend(told);
            }
            Trial::Missed => {
                count.part.not_reached += 1;
                return count.missed.push(what.to_owned());
            }
        }
        *count.kinds.entry(kind.into()).or_insert(0) += 1;
    }

    /// Something that is worth a number in the figures.
    pub fn note(&self, what: impl Into<String>) {
        *self.locked().notes.entry(what.into()).or_insert(0) += 1;
    }

    /// A figure of its own.
    pub fn figure(&self, name: &str, value: impl std::fmt::Display) {
        self.locked().part.figures.insert(name.to_owned(), value.to_string());
    }

    /// A bug that was put in on purpose, and whether this sweep saw it.
    pub fn planted(&self, planted: Planted) {
        self.locked().part.planted.push(planted);
    }

    /// Publishes the part, prints its numbers, and asserts that everything held, and that not more than this share
    /// of what was planned was missed.
    ///
    /// # Panics
    /// When something did not hold.
    pub fn finish(self, most_missed_percent: usize) {
        let Count { mut part, kinds, missed, wrong, notes } =
            self.count.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        part.seconds = self.begun.elapsed().as_secs_f64();
        let listed = |of: &BTreeMap<String, usize>| {
            of.iter().map(|(name, times)| format!("{name} {times}")).collect::<Vec<_>>().join(", ")
        };
        part.figures.insert("by kind".to_owned(), listed(&kinds));
        if !notes.is_empty() {
            part.figures.insert("notes".to_owned(), listed(&notes));
        }
        part.publish();
        eprintln!(
            "sweep-result: {}: {} tried, {} held, {} failed, {} not reached, {:.1} s; {:?}",
            part.name, part.tried, part.held, part.failed, part.not_reached, part.seconds, part.figures
        );
        missed.iter().for_each(|what| eprintln!("not covered: {what}"));
        assert!(wrong.is_empty(), "{}: {} of {} trials: {wrong:#?}", part.name, part.failed, part.tried);
        assert_eq!(part.objections(), [""; 0]);
        // A guest tries a tenth, on a CPU whose moments vary more: there one that was missed weighs as ten.
        let most_missed_percent = if crate::in_guest() { 25 } else { most_missed_percent };
        let planned = usize::try_from(part.tried).unwrap_or(0) + missed.len();
        assert!(missed.len() * 100 <= planned * most_missed_percent, "{}: not covered: {missed:#?}", part.name);
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
