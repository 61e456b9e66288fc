//! A whole audit: looks until everything is settled, then deeds, then looks again.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustbox_core::Finding;

use crate::act::{ActionResult, act};
use crate::classify::{Look, Patience, classify, conclude};
use crate::clock::rfc3339;
use crate::decide::decide;
use crate::digest::add_digests;
use crate::error::AuditError;
use crate::events::emit;
use crate::pause::pause;
use crate::proc_root::ProcRoot;
use crate::registry::Registry;
use crate::report::{AuditReport, Verdict};
use crate::snapshot::ProcSnapshot;

/// What to do about findings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Response {
    /// Tell.
    #[default]
    Report,
    /// End processes and remove cgroups, then look again.
    Kill,
}

/// How an audit is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditOptions {
    /// Whether to act.
    pub response: Response,
    /// How long ordinary births and deaths may take.
    pub patience: Patience,
    /// Time between the first two looks; it doubles up to a second while something is unsettled.
    pub interval: Duration,
    /// How long looks may go on while something is unsettled.
    pub settle_limit: Duration,
    /// How long ending processes may take.
    pub act_limit: Duration,
}

impl Default for AuditOptions {
    fn default() -> Self {
        Self {
            response: Response::Report,
            patience: Patience::default(),
            interval: Duration::from_millis(50),
            settle_limit: Duration::from_secs(8),
            act_limit: Duration::from_secs(10),
        }
    }
}

/// Looks at all: the second is what makes an accusation possible.
const LOOKS_MIN: usize = 2;
/// Looks at most: with doubling pauses this is never reached within the limit, unless the clock stands still.
const LOOKS_MAX: usize = 64;
/// Longest pause between two looks.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Audits a host. `read_registry` is asked before every look what should exist.
///
/// # Errors
/// When the processes cannot be listed: then there is no verdict. What could not be seen of single processes is a
/// finding in the report.
pub fn audit(
    root: &ProcRoot,
    read_registry: &mut dyn FnMut() -> Registry,
    options: &AuditOptions,
) -> Result<AuditReport, AuditError> {
    let started = Instant::now();
    let started_at = SystemTime::now();
    let (looks, mut findings) = look_until_settled(root, read_registry, options)?;
    add_digests(root, &mut findings);
    findings.iter().for_each(emit);
    let done = respond(root, read_registry, options, &findings)?;
    let (actions, remaining) = done.map_or((None, None), |deeds| (Some(deeds.results), Some(deeds.remaining)));
    let verdict = Verdict::of(remaining.as_ref().unwrap_or(&findings));
    let last = looks.last();
    Ok(AuditReport {
        schema: AuditReport::SCHEMA.to_owned(),
        verdict,
        exit_code: verdict.exit_code(),
        started_at: rfc3339(started_at),
        ended_at: rfc3339(SystemTime::now()),
        duration_ns: u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX),
        kernel: root.observer().kernel.clone(),
        pid_namespace: root.observer().pid_namespace,
        looks: looks.len(),
        boxes: last.map_or(0, |look| look.registry.boxes.len()),
        processes_listed: last.map_or(0, |look| look.snapshot.pids.len()),
        processes_marked: last.map_or(0, |look| look.snapshot.candidates.len()),
        processes_vanished: looks.iter().map(|look| look.snapshot.vanished).sum(),
        escalate: findings.iter().any(|finding| finding.escalate),
        findings,
        actions,
        remaining,
    })
}

fn look_until_settled(
    root: &ProcRoot,
    read_registry: &mut dyn FnMut() -> Registry,
    options: &AuditOptions,
) -> Result<(Vec<Look>, Vec<Finding>), AuditError> {
    let started = Instant::now();
    let mut looks: Vec<Look> = Vec::new();
    let mut interval = options.interval;
    loop {
        let registry = Arc::new(read_registry());
        let snapshot = ProcSnapshot::take(root, &registry)?;
        looks.push(Look { registry, snapshot });
        if looks.len() >= LOOKS_MIN {
            let classification = classify(&looks, &options.patience);
            let is_over = looks.len() >= LOOKS_MAX || started.elapsed() >= options.settle_limit;
            if classification.unsettled.is_empty() || is_over {
                let findings = conclude(classification, &looks);
                return Ok((looks, findings));
            }
            interval = (interval * 2).min(PAUSE_MAX);
        }
        pause(interval);
    }
}

/// What was done, and what a second audit found after that.
struct Deeds {
    results: Vec<ActionResult>,
    remaining: Vec<Finding>,
}

fn respond(
    root: &ProcRoot,
    read_registry: &mut dyn FnMut() -> Registry,
    options: &AuditOptions,
    findings: &[Finding],
) -> Result<Option<Deeds>, AuditError> {
    if options.response == Response::Report {
        return Ok(None);
    }
    let actions = decide(findings);
    if actions.is_empty() {
        return Ok(None);
    }
    let results = act(root, read_registry, &actions, options.act_limit)?;
    let (_, remaining) = look_until_settled(root, read_registry, options)?;
    Ok(Some(Deeds { results, remaining }))
}
