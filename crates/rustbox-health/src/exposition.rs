//! The metrics, as Prometheus reads them.

use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};

use crate::counters::{Samples, Totals};
use crate::error::Error;
use crate::families::{FAMILIES, Family, Kind, key};
use crate::host_facts::Backend;
use crate::state::{Status, WorkerState};

/// What is true of the worker and of this process now. What is not known is left out.
#[derive(Debug)]
pub struct WorkerFacts<'a> {
    /// The state; none when it could not be read.
    pub state: Option<&'a WorkerState>,
    /// How many jobs of batches wait for a box.
    pub batch_queue_depth: u64,
    /// Which interfaces boxes use.
    pub backend: &'a Backend,
    /// Version of the program.
    pub version: &'a str,
}

/// Text in the exposition format, version 0.0.4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposition(pub String);

/// Puts everything that is counted and known into text.
///
/// # Errors
/// The encoder refuses, which a table with an empty family would cause.
pub fn expose(totals: &Totals, facts: &WorkerFacts<'_>) -> Result<Exposition, Error> {
    let mut families: Vec<MetricFamily> = FAMILIES.iter().map(|family| counted(family, totals)).collect();
    families.extend(known(totals, facts));
    families.extend(process());
    families.sort_by(|left, right| left.name().cmp(right.name()));
    let mut text = Vec::new();
    TextEncoder::new().encode(&families, &mut text).map_err(Error::Exposition)?;
    Ok(Exposition(String::from_utf8_lossy(&text).into_owned()))
}

fn counted(family: &Family, totals: &Totals) -> MetricFamily {
    let series = |labels: Vec<LabelPair>, series: &str| match family.kind {
        Kind::Counter => counter(labels, totals.count(series)),
        Kind::RisingGauge => gauge(labels, number(totals.count(series))),
        Kind::Histogram(bounds) => histogram(totals.samples.get(series).unwrap_or(&Samples::default()), bounds),
    };
    let metrics = match family.label {
        None => vec![series(Vec::new(), family.name)],
        Some((name, values)) => {
            values.iter().map(|value| series(vec![label(name, value)], &key(family.name, value))).collect()
        }
    };
    let kind = match family.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::RisingGauge => MetricType::GAUGE,
        Kind::Histogram(_) => MetricType::HISTOGRAM,
    };
    named(family.name, family.help, kind, metrics)
}

fn known(totals: &Totals, facts: &WorkerFacts<'_>) -> Vec<MetricFamily> {
    let one = |name, help, value| named(name, help, MetricType::GAUGE, vec![gauge(Vec::new(), value)]);
    let flag = |is: bool| f64::from(u8::from(is));
    let mut families = vec![
        named(
            "rustbox_build_info",
            "Always 1, with the version as its label.",
            MetricType::GAUGE,
            vec![gauge(vec![label("version", facts.version)], 1.0)],
        ),
        one(
            "rustbox_counters_lost_lines",
            "Lines of the counters' file that were damaged, and are not counted.",
            number(totals.lost_lines),
        ),
        one(
            "rustbox_batch_queue_depth",
            "Jobs that running batches have read and that wait for a box.",
            number(facts.batch_queue_depth),
        ),
    ];
    if let Some(backend) = facts.backend.cgroup_backend {
        let is_v1 = backend == rustbox_core::CgroupBackend::V1;
        families.push(one("rustbox_backend_cgroup_v1", "1 when boxes use cgroup v1 alone.", flag(is_v1)));
    }
    let fallback = facts.backend.pidfd_mode.is_none();
    families.push(one("rustbox_backend_pidfd_fallback", "1 when the kernel gives no pidfds.", flag(fallback)));
    let Some(state) = facts.state else { return families };
    let status = |status: Status| gauge(vec![label("status", status.as_str())], flag(state.status() == status));
    families.extend([
        named(
            "rustbox_worker_health",
            "1 for the status that the worker has, 0 for the others.",
            MetricType::GAUGE,
            Status::ALL.map(status).to_vec(),
        ),
        one("rustbox_worker_quarantined", "1 while the worker is quarantined.", flag(state.quarantine.is_some())),
        one("rustbox_worker_accepting", "1 while runs are admitted.", flag(state.can_accept_submissions())),
        one(
            "rustbox_worker_recurrence",
            "Violations since a person last lifted a quarantine.",
            state.recurrence.into(),
        ),
        one("rustbox_worker_escalate", "1 when a person must be called now.", flag(state.escalate())),
        one("rustbox_failed_cleanups", "Cleanups that failed one after the other.", state.failed_cleanup_count.into()),
        one(
            "rustbox_failed_recoveries",
            "Recoveries that failed one after the other.",
            state.failed_recovery_count.into(),
        ),
        one(
            "rustbox_audit_last_success_timestamp_seconds",
            "When an audit last saw everything and found nothing; 0 when none ever did.",
            state.last_clean_audit.as_ref().and_then(unix_seconds).unwrap_or(0.0),
        ),
    ]);
    families
}

fn unix_seconds(moment: &crate::moment::Moment) -> Option<f64> {
    let time = humantime::parse_rfc3339(&moment.wall).ok()?;
    Some(time.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs_f64())
}

/// Descriptors of the exporting process.
fn process() -> Vec<MetricFamily> {
    let mut families = Vec::new();
    let mut one = |name, help, value: Option<f64>| {
        families.extend(value.map(|value| named(name, help, MetricType::GAUGE, vec![gauge(Vec::new(), value)])));
    };
    // The listing itself has one open.
    let open = std::fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count().saturating_sub(1));
    one(
        "process_open_fds",
        "Open file descriptors of the exporting process.",
        open.and_then(|n| u32::try_from(n).ok()).map(f64::from),
    );
    let limits = std::fs::read_to_string("/proc/self/limits").ok();
    let line = limits.as_ref().and_then(|text| text.lines().find_map(|line| line.strip_prefix("Max open files")));
    let max = line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok());
    one("process_max_fds", "Soft limit of file descriptors of the exporting process.", max);
    families
}

fn histogram(samples: &Samples, bounds: &[f64]) -> Metric {
    let mut histogram = Histogram::default();
    let total: u64 = samples.seen.values().sum();
    let bucket = |bound: &f64| {
        let mut bucket = Bucket::default();
        let below = samples.seen.iter().filter(|(value, _)| seconds(**value) <= *bound).map(|(_, times)| times);
        bucket.set_cumulative_count(below.sum());
        bucket.set_upper_bound(*bound);
        bucket
    };
    histogram.set_bucket(bounds.iter().map(bucket).collect());
    histogram.set_sample_count(total);
    histogram.set_sample_sum(seconds(samples.sum_us));
    let mut metric = Metric::default();
    metric.set_histogram(histogram);
    metric
}

fn seconds(microseconds: u64) -> f64 {
    number(microseconds) / 1e6
}

/// Exact below 2^53, which no count of boxes reaches.
fn number(count: u64) -> f64 {
    count as f64
}

fn counter(labels: Vec<LabelPair>, value: u64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(number(value));
    let mut metric = Metric::from_label(labels);
    metric.set_counter(counter);
    metric
}

fn gauge(labels: Vec<LabelPair>, value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = Metric::from_label(labels);
    metric.set_gauge(gauge);
    metric
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

fn named(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}
