//! Runs one payload without a box, under a ceiling, and leaves nothing of it: the control of a test.
//!
//! `containment-pen NAME [--root] [--uid N] [--deadline-ms N] [--pids N] [--memory BYTES] [--mark] [--file PAYLOAD] -- PROGRAM [ARG...]`
//!
//! Theory of operation: this process makes a cgroup in every hierarchy, becomes the reaper of orphans,
//! walks into the cgroup, spawns the payload there (so that it is born inside), and walks out again. When
//! the main process has ended, it writes down who is still alive, kills the cgroup, reaps, removes,
//! and prints one JSON object as its last line on standard error.
#![expect(clippy::expect_used, clippy::print_stderr, reason = "a control run reports by its exit and on stderr")]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use rustbox_tests::{CgroupLayout, PenReport, PenSurvivor, PidFd, SeenProcess, wait_until};
use rustix::process::{Resource, Rlimit, Signal, WaitOptions};

/// An ordinary user outside the range of the boxes.
const UID: u32 = 79_999;

/// The limit on POSIX queues, below the kernel's default, that tells a payload that it is in another sandbox and may attack: `TARGET_MARK` in `attack.h`.
const TARGET_MARK: u64 = 600_613;

/// What the payload gives way to.
const PAYLOAD_NICE: i32 = 10;

struct Arguments {
    name: String,
    root: bool,
    uid: u32,
    deadline: Duration,
    pids: u32,
    memory: u64,
    mark: bool,
    file: Option<PathBuf>,
    command: Vec<String>,
}

fn arguments() -> Option<Arguments> {
    let mut words = std::env::args().skip(1);
    let mut found = Arguments {
        name: words.next().filter(|n| n.starts_with("containment-pen-"))?,
        root: false,
        uid: UID,
        deadline: Duration::from_secs(10),
        pids: 64,
        memory: 256 << 20,
        mark: false,
        file: None,
        command: Vec::new(),
    };
    loop {
        match words.next()?.as_str() {
            "--root" => found.root = true,
            "--uid" => found.uid = words.next()?.parse().ok()?,
            "--deadline-ms" => found.deadline = Duration::from_millis(words.next()?.parse().ok()?),
            "--pids" => found.pids = words.next()?.parse().ok()?,
            "--memory" => found.memory = words.next()?.parse().ok()?,
            "--mark" => found.mark = true,
            "--file" => found.file = Some(words.next()?.into()),
            "--" => break,
            _ => return None,
        }
    }
    found.command = words.collect();
    (!found.command.is_empty()).then_some(found)
}

fn main() -> ExitCode {
    let Some(arguments) = arguments() else {
        eprintln!(
            "usage: containment-pen NAME [--root] [--uid N] [--deadline-ms N] [--pids N] [--memory BYTES] [--mark] [--file PAYLOAD] -- PROGRAM [ARG...]"
        );
        return ExitCode::from(125);
    };
    leave_nothing_in_a_panic(&arguments.name);
    let report = run(&arguments);
    eprintln!("{}", serde_json::to_string(&report).expect("a report"));
    ExitCode::SUCCESS
}

/// A pen that fails half-way removes what it has made: by its name, since nobody knows how far it came.
fn leave_nothing_in_a_panic(name: &str) {
    let (name, tell) = (name.to_owned(), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        let directories = CgroupLayout::read().directories(&name);
        let homes = directories.iter().filter_map(|directory| directory.parent()).map(Path::to_owned).collect();
        let pen = Cgroups { directories, homes };
        for home in &pen.homes {
            let _inside = std::fs::write(home.join("cgroup.procs"), "0");
        }
        pen.kill(0);
        let left = pen.remove(0);
        let _never_made = std::fs::remove_dir_all(shelf_of(&name));
        if !left.is_empty() {
            eprintln!("left of the pen: {left:?}");
        }
    }));
}

/// Where a copy of the payload is.
fn shelf_of(name: &str) -> PathBuf {
    Path::new("/var/lib").join(name)
}

fn run(arguments: &Arguments) -> PenReport {
    if arguments.root {
        // What a root payload mounts must not be the host's.
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).expect("unshare the mount namespace");
        let flags = nix::mount::MsFlags::MS_PRIVATE | nix::mount::MsFlags::MS_REC;
        nix::mount::mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).expect("make mounts private");
    }
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).expect("become a subreaper");
    let pen = Cgroups::create(arguments);
    // A copy where an ordinary user can execute it: the source tree may be in a private directory.
    let shelf = shelf_of(&arguments.name);
    std::fs::create_dir(&shelf).expect("make a directory in /var/lib");
    let mut words = arguments.command.clone();
    let given = arguments.file.clone().unwrap_or_else(|| PathBuf::from(&words[0]));
    let copy = shelf.join(given.file_name().expect("a program"));
    std::fs::copy(&given, &copy).expect("copy the payload");
    std::fs::set_permissions(&shelf, Permissions::from_mode(0o755)).expect("open the directory");
    if arguments.file.is_some() {
        // Another sandbox is the program, and the payload is for it to start.
        let place = shelf.display().to_string();
        words.iter_mut().for_each(|word| *word = word.replace("{shelf}", &place));
    } else {
        words[0] = copy.display().to_string();
    }
    if arguments.mark {
        let limit = Rlimit { current: Some(TARGET_MARK), maximum: Some(TARGET_MARK) };
        rustix::process::setrlimit(Resource::Msgqueue, limit).expect("set the mark");
    }
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env("CONTAIN_PEN", &arguments.name);
    if !arguments.root {
        command.uid(arguments.uid).gid(arguments.uid);
    }
    pen.walk_in();
    // A storm of processes at the ceiling must not keep this one from the CPU on which it would end the storm.
    rustix::process::setpriority_process(None, PAYLOAD_NICE).expect("be nicer");
    let child = command.spawn();
    rustix::process::setpriority_process(None, 0).expect("be as before");
    pen.walk_out();
    let mut child = child.expect("start the payload");
    let ended = PidFd::open(child.id()).expect("pidfd of the payload").wait(arguments.deadline);
    let survivors = if ended { pen.members() } else { Vec::new() };
    pen.kill(child.id());
    let status = child.wait().expect("reap the payload");
    let main = ended.then(|| status.code().unwrap_or_else(|| -status.signal().unwrap_or(0)));
    let left = pen.remove(child.id());
    std::fs::remove_dir_all(&shelf).expect("remove the copy");
    PenReport { main, survivors, left, stdout: String::new() }
}

/// One directory in each hierarchy that has something to say.
struct Cgroups {
    directories: Vec<PathBuf>,
    homes: Vec<PathBuf>,
}

impl Cgroups {
    fn create(arguments: &Arguments) -> Self {
        let layout = CgroupLayout::read();
        let own = std::fs::read_to_string("/proc/self/cgroup").expect("/proc/self/cgroup");
        let mut pen = Self { directories: Vec::new(), homes: Vec::new() };
        let mut add = |root: &Path, controller: &str, settings: &[(&str, String)]| {
            let line = own.lines().find(|l| l.split(':').nth(1).is_some_and(|c| c.split(',').any(|c| c == controller)));
            let home = line.and_then(|l| l.splitn(3, ':').nth(2)).expect("own cgroup").trim_start_matches('/');
            let directory = root.join(&arguments.name);
            std::fs::create_dir(&directory).expect("make a cgroup");
            for (attribute, value) in settings {
                std::fs::write(directory.join(attribute), value).expect("set the pen's ceiling");
            }
            pen.directories.push(directory);
            pen.homes.push(root.join(home));
        };
        let (pids, memory) = (arguments.pids.to_string(), arguments.memory.to_string());
        if let Some(root) = layout.controller("pids") {
            add(root, "pids", &[("pids.max", pids.clone())]);
        }
        if let Some(root) = layout.controller("memory") {
            add(root, "memory", &[("memory.limit_in_bytes", memory.clone())]);
        }
        if let Some(root) = &layout.unified {
            let has = |c| std::fs::read_to_string(root.join("cgroup.subtree_control")).is_ok_and(|t| t.contains(c));
            let mut settings = Vec::new();
            if has("pids") {
                settings.push(("pids.max", pids));
            }
            if has("memory") {
                settings.push(("memory.max", memory));
            }
            add(root, "", &settings);
        }
        pen
    }

    fn walk_in(&self) {
        for directory in &self.directories {
            std::fs::write(directory.join("cgroup.procs"), "0").expect("walk into the pen");
        }
    }

    fn walk_out(&self) {
        for home in &self.homes {
            std::fs::write(home.join("cgroup.procs"), "0").expect("walk out of the pen");
        }
    }

    fn pids(&self) -> Vec<u32> {
        let read = |d: &PathBuf| std::fs::read_to_string(d.join("cgroup.procs")).unwrap_or_default();
        let mut pids: Vec<u32> = self
            .directories
            .iter()
            .map(read)
            .flat_map(|t| t.lines().filter_map(|l| l.parse().ok()).collect::<Vec<_>>())
            .collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    fn members(&self) -> Vec<PenSurvivor> {
        let seen = self.pids().into_iter().filter_map(SeenProcess::read);
        seen.map(|p| PenSurvivor { pid: p.pid, state: p.state, session: p.session }).collect()
    }

    /// Until every hierarchy is empty: with `cgroup.kill` where there is one, else process by process
    /// under a ceiling of no new ones.
    fn kill(&self, payload: u32) {
        let _emptied = wait_until(Duration::from_secs(10), || {
            for directory in &self.directories {
                let _v1 = std::fs::write(directory.join("pids.max"), "0");
                let _v2 = std::fs::write(directory.join("cgroup.kill"), "1");
            }
            for pid in self.pids() {
                let fd = PidFd::open(pid);
                // The pid may have been given to another process since: only a member is signalled.
                if let Some(fd) = fd.filter(|_| self.pids().contains(&pid)) {
                    fd.signal(Signal::KILL);
                }
            }
            reap_orphans(payload);
            self.pids().is_empty().then_some(())
        });
    }

    fn remove(&self, payload: u32) -> Vec<String> {
        let begun = Instant::now();
        let mut left: Vec<String> = Vec::new();
        let _gone = wait_until(Duration::from_secs(5), || {
            reap_orphans(payload);
            left = self
                .directories
                .iter()
                .filter(|d| std::fs::remove_dir(d).is_err() && d.exists())
                .map(|d| d.display().to_string())
                .collect();
            left.is_empty().then_some(())
        });
        reap_orphans(payload);
        if !left.is_empty() {
            left.push(format!("after {:?}: processes {:?}", begun.elapsed(), self.members()));
        }
        left
    }
}

/// Reaps what was given to us as a subreaper, all but the payload itself: that one is reaped last, by
/// the caller, who wants its status.
fn reap_orphans(payload: u32) {
    let own = std::process::id();
    for process in rustbox_tests::scan() {
        if process.ppid == own && process.is_zombie() && process.pid != payload {
            let id = i32::try_from(process.pid).ok().and_then(rustix::process::Pid::from_raw);
            let _reaped = rustix::process::waitpid(id, WaitOptions::NOHANG);
        }
    }
}
