//! How often a run allocates: counts for `cargo xtask budget`, which holds them to its budget.
#![expect(clippy::unwrap_used, reason = "a test panics where it is wrong; the counts are read from it")]

mod sys;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rustbox_core::{RunPlan, RunSpec, Status};
use rustbox_supervisor::{Files, Host, Places, Pool, RunIo, run};

/// Runs of which the least counts: the first ones open what stays open.
const RUNS: usize = 5;

/// Allocations of this thread during `what`, the least of several.
fn least(mut what: impl FnMut()) -> u64 {
    let one = |_| {
        let before = sys::count();
        what();
        sys::count() - before
    };
    (0..RUNS).map(one).min().unwrap()
}

fn plan() -> RunPlan {
    RunSpec { argv: vec!["/bin/true".into()], ..RunSpec::default() }.validate().unwrap()
}

#[test]
fn a_run_allocates_so_often() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIP: boxes need root");
        return;
    }
    let place = PathBuf::from(format!("/var/lib/rustbox-allocations-{}", std::process::id()));
    fs::create_dir(&place).unwrap();
    let places = Places { state_dir: place.join("state"), ..Places::default() };
    let host = Arc::new(Host::open(&places, None).unwrap());
    let cold = least(|| {
        let plan = plan();
        let report = run(&host, &plan, RunIo { interrupt: None, observer: &mut |_| {} }).unwrap();
        assert_eq!(report.status, Status::Ok, "{report:?}");
    });
    let pool = Pool::start(Arc::clone(&host), plan(), 1, None).unwrap();
    let warm = least(|| {
        let report = pool.run(plan(), Files::default()).unwrap();
        assert_eq!(report.status, Status::Ok, "{report:?}");
    });
    assert_eq!(pool.counts().cold, 0);
    drop(pool);
    fs::remove_dir_all(&place).unwrap();
    println!("allocations of a cold run: {cold}");
    println!("allocations of a warm run: {warm}");
    // A counter that does not count would say so.
    assert!(cold > 10 && warm > 10, "{cold} {warm}");
}
