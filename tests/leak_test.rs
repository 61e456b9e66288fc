//! Thousands of runs leave the host as it was: cgroups, mounts, processes, descriptors, directories, memory.
//! QR06, and 64 boxes at once.
#![expect(clippy::expect_used, reason = "a test fails by panicking, in its helpers as well")]

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustbox_tests::{Canary, CgroupLayout, HostState, Lab, SeenProcess, how_often, scan, wait_until};

/// The counts of the host are everybody's: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// `RUSTBOX_LEAK_RUNS` sets another number of runs.
fn runs() -> usize {
    how_often("RUSTBOX_LEAK_RUNS", 2000)
}

/// How long the kernel may take to free what two thousand runs have removed.
const SETTLES: Duration = Duration::from_secs(20);

/// Runs under way at the same time. Odd, so that every worker meets every kind.
const WORKERS: usize = 3;

/// One of each kind of end, over and over.
const KINDS: &[(&str, &[&str], &[&str], &str)] = &[
    ("contain_kill_self", &["0", "0"], &[], "OK"),
    ("contain_kill_self", &["11"], &[], "SIG"),
    ("contain_double_fork", &[], &[], "OK"),
    ("contain_wall_sleep", &[], &["--wall-time", "5ms"], "TLE"),
    ("contain_setsid", &[], &["--output-limit", "1M"], "OK"),
    ("no-such-payload", &[], &[], "XE"),
    ("contain_stopped", &[], &[], "OK"),
    ("contain_kill_self", &["0", "7"], &[], "RE"),
];

/// Kilobytes of kernel memory that grows when cgroups, namespaces or mounts leak.
fn kernel_memory() -> BTreeMap<&'static str, i64> {
    let text = std::fs::read_to_string("/proc/meminfo").expect("/proc/meminfo");
    let field = |name: &'static str| {
        let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':')).unwrap_or("0");
        (name, line.split_ascii_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0))
    };
    ["SUnreclaim", "KernelStack", "Percpu"].into_iter().map(field).collect()
}

/// `num_cgroups` of every controller: directories that are gone and not yet freed count as well.
fn kernel_cgroups() -> u64 {
    let text = std::fs::read_to_string("/proc/cgroups").unwrap_or_default();
    text.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.split('\t').nth(2)?.parse::<u64>().ok()).sum()
}

fn open_files() -> u64 {
    let text = std::fs::read_to_string("/proc/sys/fs/file-nr").expect("file-nr");
    text.split_ascii_whitespace().next().and_then(|n| n.parse().ok()).expect("a number")
}

/// No directory, cgroup or process of any box of this lab.
fn assert_nothing_of(lab: &Lab) {
    let boxes = std::fs::read_dir(lab.state_dir().join("boxes")).map(|d| d.filter_map(Result::ok).collect::<Vec<_>>());
    assert!(boxes.as_ref().is_ok_and(Vec::is_empty), "{boxes:?}");
    let groups = CgroupLayout::read().directories_beginning(&format!("rustbox-{}", lab.prefix()));
    assert!(groups.is_empty(), "{groups:?}");
    let mark = format!("RUSTBOX_TEST_BOX={}", lab.prefix());
    let marked = |p: &SeenProcess| p.environ.split(|b| *b == 0).any(|w| w.starts_with(mark.as_bytes()));
    let alive: Vec<_> = scan().into_iter().filter(|p| marked(p) || p.cgroup.contains(lab.prefix())).collect();
    assert!(alive.is_empty(), "{alive:?}");
}

#[test]
fn two_thousand_runs_leave_the_host_flat() {
    let _alone = ALONE.lock();
    let lab = Lab::open("leak");
    let canary = Canary::start("leak");
    let one_run = &|number: usize| {
        let (name, args, flags, status) = KINDS[number % KINDS.len()];
        let command = lab.a_box().flags(flags).flags(["--quiet"]);
        let command = if name == "no-such-payload" { command.argv(["/no/such"]) } else { command.attack(name, args) };
        let ended = command.finish();
        assert_eq!(ended.report().status.as_str(), status, "{ended}");
        assert!(ended.left().is_empty(), "{:#?} {ended}", ended.left());
    };
    // A run is mostly waiting for the kernel, so several take their turns at once.
    let all = |count: usize| {
        std::thread::scope(|scope| {
            for worker in 0..WORKERS {
                scope.spawn(move || (worker..count).step_by(WORKERS).for_each(one_run));
            }
        });
    };
    // A lap for what is made once and kept: caches of the kernel, lock files.
    all(64);
    let (host, files, processes) = (HostState::read(), open_files(), scan().len());
    let (memory, cgroups) = (kernel_memory(), kernel_cgroups());
    let begun = Instant::now();
    all(runs());
    let took = begun.elapsed();
    let after = HostState::read();
    assert_eq!(after, host);
    assert_nothing_of(&lab);
    let grown = scan().len().saturating_sub(processes);
    assert!(grown < 50, "{grown} processes more than before");
    let more_files = open_files().saturating_sub(files);
    assert!(more_files < 500, "{more_files} open files more on the host after {} runs", runs());
    // The kernel frees removed cgroups one after the other, and is behind when runs are quick. Some pages for each run that
    // are never freed would show.
    let grown = || kernel_memory().into_iter().map(|(k, v)| v - memory[k]).sum::<i64>();
    let per_run = || grown() / i64::try_from(runs()).unwrap_or(1).max(1);
    let is_freed = wait_until(SETTLES, || (per_run() < 16).then_some(())).is_some();
    let growth: BTreeMap<_, _> = kernel_memory().into_iter().map(|(k, v)| (k, v - memory[k])).collect();
    eprintln!(
        "{} runs in {took:?} ({:?} each); host: {} mounts and {} cgroups as before, kernel cgroups {cgroups} -> {}, open files {files} -> {}, \
         kernel memory growth in kB {growth:?}",
        runs(),
        took / u32::try_from(runs()).unwrap_or(1).max(1),
        after.mounts.len(),
        after.cgroups.len(),
        kernel_cgroups(),
        open_files(),
    );
    assert!(is_freed, "{} kB of kernel memory for each run stay: {growth:?}", per_run());
    canary.assert_unharmed();
}

#[test]
fn sixty_four_boxes_at_once_do_not_mix() {
    let _alone = ALONE.lock();
    let lab = Lab::open("many");
    let host = HostState::read();
    let begun = Instant::now();
    let start = |_| lab.a_box().attack("contain_leaked_fds", &[]).flags(["--mem", "64M"]).start();
    let running: Vec<_> = (0..64).map(start).collect();
    let mut uids = BTreeMap::new();
    for one in running {
        let ended = one.finish();
        ended.assert_contained().assert_verdict("OK", "normal_exit", 0).assert_said("contained");
        let open = ended.stdout.lines().filter(|l| l.contains("open: ")).count();
        assert_eq!(open, 3, "{ended}");
        *uids.entry(ended.report().uid).or_insert(0) += 1;
    }
    eprintln!("64 boxes at once: {:?}, {} different uids", begun.elapsed(), uids.len());
    assert_eq!(HostState::read(), host);
    assert_nothing_of(&lab);
}

#[test]
fn sixty_four_living_boxes_are_all_listed_and_all_end() {
    let _alone = ALONE.lock();
    let lab = Lab::open("living");
    let start = |_| lab.a_box().attack("contain_spawn_race", &["fork"]).stdin(Stdio::piped()).start();
    let mut running: Vec<_> = (0..64).map(start).collect();
    running.iter().for_each(|r| r.await_output("armed:"));
    let layout = CgroupLayout::read();
    for one in &running {
        assert!(!layout.directories(&format!("rustbox-{}", one.box_id())).is_empty(), "{}", one.box_id());
    }
    for one in &mut running {
        drop(one.take_stdin());
    }
    for one in running {
        one.finish().assert_contained().assert_verdict("OK", "normal_exit", 0);
    }
}

/// Output of a flood, in MiB; ten GiB of it are 10240.
fn flood_mib() -> usize {
    how_often("RUSTBOX_FLOOD_MIB", 1024)
}

#[test]
fn memory_of_a_supervisor_does_not_grow_with_the_output() {
    let _alone = ALONE.lock();
    let lab = Lab::open("rss");
    let bytes = (flood_mib() << 20).to_string();
    let flags = ["--output-limit", "64G", "--stdout", "/dev/null", "--wall-time", "300"];
    let running = lab.a_box().attack("contain_output_flood", &["stdout", &bytes]).flags(flags).start();
    let mut seen = Vec::new();
    let path = format!("/proc/{}/status", running.pid());
    while !running.pidfd().wait(std::time::Duration::from_millis(20)) {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        seen.extend(line.and_then(|l| l.split_ascii_whitespace().next()?.parse::<u64>().ok()));
    }
    let ended = running.finish();
    // Its last byte written, the payload says that nobody stopped it.
    ended.assert_contained().assert_verdict("RE", "re_nonzero_exit", 90);
    let passed_on = ended.report().stdout_bytes.expect("captured");
    let (early, most) = (seen[seen.len() / 4], seen.iter().copied().max().unwrap_or(0));
    eprintln!(
        "supervisor's largest resident set {most} kB after {passed_on} bytes of output, {early} kB after a quarter; {:?}",
        ended.elapsed
    );
    assert!(passed_on >= (flood_mib() as u64) << 20, "too little output to tell: {passed_on}");
    assert!(most > 0 && most < 32 << 10 && most - early < 1 << 10, "{early} kB, then {most} kB");
}
