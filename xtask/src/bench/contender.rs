//! Who is measured: a command line for each sandbox that is installed, with as equal an isolation as each can give.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde_json::json;

use super::killing::cgroup2;
use super::twin_in_memory;
use crate::command;

/// One command line.
#[derive(Clone, Debug)]
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) words: Vec<String>,
    /// What it is, and what it lacks beside the others.
    pub(crate) note: &'static str,
    /// The contender of which this does the way in and nothing else.
    pub(crate) way_of: Option<&'static str>,
}

/// Files that all contenders share.
#[derive(Debug)]
pub(crate) struct Stage {
    /// A temporary directory.
    pub(crate) directory: PathBuf,
    /// Another one, in memory.
    pub(crate) memory: PathBuf,
    /// A runtime directory for which `rustbox prepare` was run.
    pub(crate) prepared: PathBuf,
    /// The program that ships.
    pub(crate) rustbox: PathBuf,
    /// The program that does nothing.
    pub(crate) nothing: PathBuf,
}

/// What a box of ours shows of the host's `/etc`, so that the others show it too.
const ETC: [&str; 7] = ["alternatives", "ca-certificates", "ld.so.cache", "localtime", "pki", "ssl", "crypto-policies"];
/// Links that a merged `/usr` has at the root.
const LINKS: [&str; 4] = ["bin", "sbin", "lib", "lib64"];
/// How the name of a container begins.
const CONTAINER: &str = "rustbox-bench-";
pub(crate) const BARE: &str = "bare";
pub(crate) const RUSTBOX: &str = "rustbox";
pub(crate) const RUSTBOX_PREPARED: &str = "rustbox-prepared";
pub(crate) const RUSTBOX_NO_V1: &str = "rustbox-no-v1";
const FLOOR: &str = "floor";

impl Contender {
    pub(crate) fn new(name: &'static str, words: Vec<String>, note: &'static str) -> Self {
        Self { name, words, note, way_of: None }
    }

    pub(crate) fn command(&self) -> Command {
        let mut words = self.words.iter();
        let mut command = Command::new(words.next().map_or("true", String::as_str));
        command.args(words);
        clear_environment(&mut command);
        command
    }

    /// Whether a run of it that fails is our failure.
    pub(crate) fn is_ours(&self) -> bool {
        self.name == BARE || self.name.starts_with(RUSTBOX)
    }

    /// The same for one of several at once: runtimes of containers want a name for each.
    pub(crate) fn numbered(&self, number: usize) -> Self {
        let mut one = self.clone();
        if let Some(id) = one.words.last_mut().filter(|word| word.starts_with(CONTAINER)) {
            id.push_str(&format!("-{number}"));
        }
        one
    }

    pub(crate) fn text(&self) -> String {
        self.words.join(" ")
    }
}

impl Stage {
    /// In a directory of the benchmark.
    pub(crate) fn new(directory: &Path, rustbox: &Path, nothing: PathBuf) -> Result<Self> {
        let memory = twin_in_memory(directory)?;
        let prepared = memory.join("prepared-runtime");
        Ok(Self { directory: directory.to_owned(), memory, prepared, rustbox: rustbox.to_owned(), nothing })
    }

    /// The same for another program, with files of its own.
    pub(crate) fn with(&self, program: &Path, name: &str) -> Result<Self> {
        let directory = self.directory.join(name);
        fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
        let memory = self.memory.join(name);
        fs::create_dir_all(&memory).with_context(|| format!("make {}", memory.display()))?;
        let (rustbox, prepared) = (self.rustbox.clone(), self.prepared.clone());
        Ok(Self { directory, memory, prepared, rustbox, nothing: program.to_owned() })
    }

    /// Words of `rustbox` with places of the benchmark's own, in memory: there the others keep theirs too (`/run`), and
    /// the mount unit of the package our records.
    pub(crate) fn rustbox(&self) -> Vec<String> {
        self.rustbox_at(&self.memory.join("runtime"))
    }

    fn rustbox_at(&self, runtime: &Path) -> Vec<String> {
        let state = self.memory.join("state").display().to_string();
        let runtime = runtime.display().to_string();
        strings(&[&self.rustbox.display().to_string(), "--state-dir", &state, "--runtime-dir", &runtime])
    }

    /// Words of a run of a program of ours.
    pub(crate) fn run(&self, program: &Path) -> Vec<String> {
        [self.rustbox(), run_of(program)].concat()
    }

    /// Prepares this host for the contender that begins from an empty mount namespace.
    pub(crate) fn prepare(&self) -> Result<Prepared> {
        let prepared = Prepared(self.rustbox_at(&self.prepared));
        prepared.call(&["prepare"])?;
        Ok(prepared)
    }
}

fn run_of(program: &Path) -> Vec<String> {
    let bind = format!("{}:/program", program.display());
    strings(&["run", "--quiet", "--ro-bind", &bind, "--", "/program"])
}

/// A host that is prepared as long as the value lives.
#[derive(Debug)]
pub(crate) struct Prepared(Vec<String>);

impl Prepared {
    fn call(&self, words: &[&str]) -> Result<()> {
        let mut rustbox = Command::new(self.0.first().map_or("", String::as_str));
        command::run(rustbox.args(self.0.get(1..).unwrap_or_default()).args(words))
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if let Err(error) = self.call(&["prepare", "--undo"]) {
            println!("mounts are left: {error:#}");
        }
    }
}

/// The contenders that are installed and that can run the program here; why another cannot is printed. `boxloop` is the
/// program in C of that name.
pub(crate) fn all(stage: &Stage, boxloop: &Path) -> Result<Vec<Contender>> {
    let program = stage.nothing.display().to_string();
    let no_v1 = [stage.rustbox(), strings(&["--cgroup-backend", "v2"])].concat();
    let bind = format!("{program}:/program");
    let no_v1 = [no_v1, strings(&["run", "--permissive", "--quiet", "--ro-bind", &bind, "--", "/program"])].concat();
    let prepared = [stage.rustbox_at(&stage.prepared), run_of(&stage.nothing)].concat();
    let no_v1_note = "the v2 directory alone: what the limits of cgroup v1 cost is the difference to `rustbox`";
    let mut wanted = vec![
        Contender::new(BARE, vec![program.clone()], "no sandbox: fork, exec, wait"),
        Contender::new(RUSTBOX, stage.run(&stage.nothing), "everything on, strict; records in memory"),
        Contender::new(RUSTBOX_PREPARED, prepared, "the same after `rustbox prepare`"),
        Contender::new(RUSTBOX_NO_V1, no_v1, no_v1_note),
        Contender::new(FLOOR, floor(boxloop, &program), FLOOR_NOTE),
        Contender::new("bwrap", bwrap(&program), "no limits, no cgroup, no seccomp filter"),
        Contender::new("unshare", unshare(&program), "namespaces alone, no root of its own"),
        Contender::new("firejail", firejail(&program), "no cgroup limits; leaves mounts below /run/firejail"),
    ];
    wanted.extend(crun(stage)?);
    wanted.push(Contender::new("runc", oci(stage, "runc")?, OCI_NOTE));
    wanted.push(Contender::new("nsjail", nsjail(&program), "resource limits, no cgroup"));
    wanted.push(Contender::new("nsjail-cgroup", nsjail_cgroup(&program), "the same with its cgroup limits"));
    wanted.push(Contender::new("minijail", minijail(&program), "no limits, no cgroup"));
    wanted.push(Contender::new("isolate", isolate(&program), "init, run and cleanup"));
    Ok(wanted.into_iter().filter(works).collect())
}

/// What the kernel takes for a box, whoever makes it.
const FLOOR_NOTE: &str = "a box like that of rustbox-no-v1 by 200 lines of C, which write nothing down, read nothing back, \
                          prove nothing, and leave it all behind when they are killed";

fn floor(boxloop: &Path, program: &str) -> Vec<String> {
    let root = cgroup2().unwrap_or_default().display().to_string();
    strings(&[&boxloop.display().to_string(), "0", program, "full", &root])
}

const OCI_NOTE: &str = "cgroup limits, seccomp filter off";

/// crun refuses a host with a cgroup2 mount beside those of v1. Where nobody sees that mount it finds v1 alone; what it
/// takes to get there is measured next to it.
fn crun(stage: &Stage) -> Result<Vec<Contender>> {
    let plain = Contender::new("crun", oci(stage, "crun")?, OCI_NOTE);
    let Some(mount) = cgroup2().filter(|_| command::is_in_path("crun") && !works(&plain)) else {
        return Ok(vec![plain]);
    };
    let script = format!("umount {} && exec \"$@\"", mount.display());
    let hidden = strings(&["unshare", "--mount", "--propagation", "private", "sh", "-c", &script, "sh"]);
    let words = [hidden.clone(), plain.words].concat();
    let note = "cgroup limits, seccomp filter off; in a mount namespace without cgroup2, which it refuses beside v1; \
                what rustbox is to it is told less what the line below takes to get there";
    let mut way =
        Contender::new("way-to-crun", [hidden, strings(&[&stage.nothing.display().to_string()])].concat(), WAY);
    way.way_of = Some("crun");
    Ok(vec![Contender::new("crun", words, note), way])
}

const WAY: &str = "no sandbox: into such a mount namespace, then fork, exec, wait";

fn works(contender: &Contender) -> bool {
    let program =
        if contender.name == "isolate" { Some("isolate") } else { contender.words.first().map(String::as_str) };
    let installed = program.is_some_and(|program| program.contains('/') || command::is_in_path(program));
    if !installed {
        println!("{}: not installed", contender.name);
        return false;
    }
    match contender.command().stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            println!("{}: left out: {}: {}", contender.name, output.status, String::from_utf8_lossy(&output.stderr));
            false
        }
        Err(error) => {
            println!("{}: left out: {error}", contender.name);
            false
        }
    }
}

/// Cargo tells the dynamic linker where else to look, which costs whoever is linked dynamically a hundred calls.
pub(crate) fn clear_environment(command: &mut Command) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path);
}

pub(crate) fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn bwrap(program: &str) -> Vec<String> {
    let mut words = strings(&["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--clearenv"]);
    words.extend(strings(&["--hostname", "rustbox", "--uid", "70000", "--gid", "70000", "--ro-bind", "/usr", "/usr"]));
    for link in LINKS {
        words.extend(strings(&["--symlink", &format!("usr/{link}"), &format!("/{link}")]));
    }
    for name in ETC {
        let path = format!("/etc/{name}");
        words.extend(strings(&["--ro-bind-try", &path, &path]));
    }
    words.extend(strings(&["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/dev/shm"]));
    words.extend(strings(&["--tmpfs", "/box", "--chdir", "/box", "--ro-bind", program, "/program", "/program"]));
    words
}

fn unshare(program: &str) -> Vec<String> {
    let flags = ["unshare", "--pid", "--fork", "--mount", "--mount-proc", "--ipc", "--uts", "--net", "--cgroup"];
    [strings(&flags), strings(&["--kill-child", program])].concat()
}

fn firejail(program: &str) -> Vec<String> {
    let flags = ["firejail", "--quiet", "--noprofile", "--net=none", "--private-dev", "--private-tmp", "--seccomp"];
    [strings(&flags), strings(&["--caps.drop=all", "--nonewprivs", "--", program])].concat()
}

fn nsjail(program: &str) -> Vec<String> {
    let mut words = strings(&["nsjail", "-Mo", "--really_quiet", "--user", "70000", "--group", "70000"]);
    words.extend(strings(&["--hostname", "rustbox", "--disable_clone_newuser", "-R", "/usr"]));
    for link in LINKS {
        words.extend(strings(&["-s", &format!("/usr/{link}:/{link}")]));
    }
    words.extend(strings(&["-T", "/tmp", "-T", "/dev/shm", "-T", "/box", "--cwd", "/box"]));
    words.extend(strings(&["-R", &format!("{program}:/program"), "--", "/program"]));
    words
}

fn nsjail_cgroup(program: &str) -> Vec<String> {
    let mut words = nsjail(program);
    let limits = strings(&["--cgroup_mem_max", "1073741824", "--cgroup_pids_max", "257"]);
    let at = words.iter().position(|word| word == "--").unwrap_or(words.len());
    words.splice(at..at, limits);
    words
}

fn minijail(program: &str) -> Vec<String> {
    let mut words = strings(&["minijail0", "-p", "-v", "-e", "-l", "--uts", "-N", "-n", "-r", "-u", "70000", "-g"]);
    words.extend(strings(&["70000", "-P", "/var/empty", "-k", "tmpfs,/,tmpfs", "-b", "/usr,/usr"]));
    words.extend(strings(&["-t", "-b", &format!("{program},/program"), "/program"]));
    words
}

fn isolate(program: &str) -> Vec<String> {
    let dir = Path::new(program).parent().unwrap_or(Path::new("/")).display();
    let script = format!(
        "isolate --init >/dev/null && isolate --silent --dir=/bench={dir} --run -- /bench/{}; code=$?; isolate --cleanup; exit $code",
        Path::new(program).file_name().unwrap_or_default().display()
    );
    strings(&["sh", "-c", &script])
}

/// An OCI bundle with the mounts, namespaces and limits of a box of ours.
fn oci(stage: &Stage, runtime: &str) -> Result<Vec<String>> {
    let bundle = stage.directory.join(format!("bundle-{runtime}"));
    let root = bundle.join("rootfs");
    for name in ["usr", "etc", "proc", "dev", "tmp", "box", "sys"] {
        fs::create_dir_all(root.join(name)).with_context(|| format!("make {}", root.display()))?;
    }
    fs::copy(&stage.nothing, root.join("program")).context("copy the program into the bundle")?;
    let bind = |path: &str| json!({"destination": path, "type": "bind", "source": path, "options": ["rbind", "ro", "nosuid", "nodev"]});
    let tmpfs = |path: &str| json!({"destination": path, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "size=65536k"]});
    let mut mounts = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc"}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]}),
        tmpfs("/dev/shm"),
        tmpfs("/tmp"),
        tmpfs("/box"),
        bind("/usr"),
    ];
    let etc = ETC.iter().map(|name| format!("/etc/{name}")).filter(|path| Path::new(path).exists());
    mounts.extend(etc.map(|path| bind(&path)));
    let namespaces = ["pid", "network", "ipc", "uts", "mount", "cgroup"].map(|kind| json!({"type": kind}));
    let config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false, "user": {"uid": 70000, "gid": 70000}, "args": ["/program"], "cwd": "/box",
            "env": ["PATH=/usr/bin:/bin"], "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "rustbox",
        "mounts": mounts,
        "linux": {
            "namespaces": namespaces,
            "resources": {"memory": {"limit": 1u64 << 30, "swap": 1u64 << 30}, "pids": {"limit": 257}},
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list"],
            "readonlyPaths": ["/proc/sys", "/proc/bus"],
        },
    });
    let path = bundle.join("config.json");
    fs::write(&path, config.to_string()).with_context(|| format!("write {}", path.display()))?;
    let id = format!("{CONTAINER}{runtime}-{}", std::process::id());
    Ok(strings(&[runtime, "run", "--bundle", &bundle.display().to_string(), &id]))
}
