//! A host with cgroups, boxes on it, and processes in them; everything is gone when the test ends.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustbox_cgroup::{BoxCgroup, Emptied, Hierarchies};
use rustbox_core::{BoxId, ByteSize, CgroupBackend, Limits, MemoryMax, Mode, PidsMax, ResourceLimits};

/// Longest wait of any test.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Runs a claim on every backend that this host has, and says loudly which it could not run on.
///
/// With RUSTBOX_CI=1 a host without any is a failure.
pub(crate) fn on_each_backend(claim: impl Fn(&Hierarchies)) {
    let mut held_on = Vec::new();
    for backend in [CgroupBackend::Hybrid, CgroupBackend::V1, CgroupBackend::V2] {
        match usable(backend) {
            Ok(hierarchies) => {
                claim(&hierarchies);
                held_on.push(backend.to_string());
            }
            Err(reason) => eprintln!("SKIP on {backend}: {reason}"),
        }
    }
    assert!(!held_on.is_empty() || std::env::var_os("RUSTBOX_CI").is_none(), "no usable cgroup backend in CI");
    eprintln!("held on: {}", held_on.join(", "));
}

fn usable(backend: CgroupBackend) -> Result<Hierarchies, String> {
    let hierarchies = Hierarchies::detect(Some(backend)).map_err(|e| e.to_string())?;
    let missing = hierarchies.missing(&limits());
    if let Some(control) = missing.first() {
        return Err(control.reason.clone());
    }
    let id = fresh_id("usable");
    let group = hierarchies.create(&id, &limits(), Mode::Strict).map_err(|e| format!("{e} ({:?})", e.fix()))?;
    group.remove(DEADLINE).map_err(|e| e.to_string())?;
    Ok(hierarchies)
}

/// An id that no other test has.
pub(crate) fn fresh_id(test: &str) -> BoxId {
    use std::hash::{BuildHasher as _, Hasher as _};
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
    format!("test-{test}-{}", BoxId::from_random(random)).parse().expect("a valid id")
}

/// 64 MiB, 60 tasks and the init, nothing else.
pub(crate) fn limits() -> Limits {
    Limits {
        memory: MemoryMax::new(ByteSize(64 << 20)).expect("above the least"),
        pids: PidsMax::new(60).expect("above 0"),
        cpu_time: None,
        wall_time: None,
        extra_time: Duration::ZERO,
        cpus: None,
        cpuset: None,
        output: None,
        process: ResourceLimits {
            file_size: None,
            open_files: 64,
            stack: None,
            core: 0,
            address_space: None,
            cpu_seconds: None,
        },
    }
}

/// A box that is killed and removed when the test ends, however it ends.
pub(crate) struct Box {
    pub(crate) group: Option<BoxCgroup>,
    hierarchies: Hierarchies,
    id: BoxId,
    children: Vec<Child>,
}

impl Box {
    pub(crate) fn create(hierarchies: &Hierarchies, test: &str, limits: &Limits) -> Self {
        Self::create_as(hierarchies, &fresh_id(test), limits)
    }

    pub(crate) fn create_as(hierarchies: &Hierarchies, id: &BoxId, limits: &Limits) -> Self {
        let group = hierarchies.create(id, limits, Mode::Strict).expect("a box");
        Self { group: Some(group), hierarchies: hierarchies.clone(), id: id.clone(), children: Vec::new() }
    }

    pub(crate) fn group(&self) -> &BoxCgroup {
        self.group.as_ref().expect("not removed yet")
    }

    /// Starts a shell that waits for a line, makes it a member of every directory, and lets it run `script`.
    ///
    /// Attaching from outside, by path: what the library gives for it is made for an init that attaches itself.
    pub(crate) fn run(&mut self, script: &str) -> u32 {
        let mut child = Command::new("/bin/sh")
            .args(["-c", &format!("read go; {script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let pid = child.id();
        let mut stdin = child.stdin.take().expect("piped");
        self.children.push(child);
        for path in self.group().paths() {
            std::fs::write(path.join("cgroup.procs"), pid.to_string()).expect("attach");
        }
        stdin.write_all(b"go\n").expect("the shell waits");
        pid
    }

    /// Reaps what [`Self::run`] started. Only after a kill, or for scripts that end.
    pub(crate) fn reap(&mut self) {
        for mut child in self.children.drain(..) {
            let _status = child.wait();
        }
    }

    /// Removes the box; it must be empty.
    pub(crate) fn remove(mut self) {
        self.reap();
        let paths = self.group().paths();
        self.group.take().expect("not removed yet").remove(DEADLINE).expect("removed");
        for path in paths {
            assert!(!path.exists(), "{} is left over", path.display());
        }
    }
}

impl Drop for Box {
    fn drop(&mut self) {
        let found = || self.hierarchies.open_existing(&self.id).ok().flatten();
        if let Some(group) = self.group.take().or_else(found) {
            let _killed = group.kill();
            self.reap();
            let emptied = group.wait_empty(DEADLINE);
            let _removed = group.remove(DEADLINE);
            assert!(std::thread::panicking() || emptied.is_ok_and(|e| e.is_empty()), "the box could not be emptied");
        }
    }
}

/// Waits until a file's text fulfils a condition.
pub(crate) fn wait_until(what: &str, path: &Path, condition: impl Fn(&str) -> bool) {
    let start = std::time::Instant::now();
    while !condition(&std::fs::read_to_string(path).unwrap_or_default()) {
        assert!(start.elapsed() < DEADLINE, "{what}: {}", path.display());
        std::thread::yield_now();
    }
}

/// The deadline has not passed.
pub(crate) fn assert_empty(emptied: Emptied) {
    assert!(emptied.is_empty(), "{emptied:?}");
}
