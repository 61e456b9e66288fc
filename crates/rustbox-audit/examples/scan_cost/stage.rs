//! The crowd of idle processes, its cgroups, and the loop in C.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustbox_audit::{BoxMarks, CgroupMark, Phase, Registry, parse_cgroup_mounts};

use crate::Failure;

/// The two programs, compiled.
pub(crate) struct Programs {
    directory: tempfile::TempDir,
}

impl Programs {
    pub(crate) fn compile() -> Result<Self, Failure> {
        let directory = tempfile::tempdir()?;
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/scan_cost");
        for name in ["crowd", "loop"] {
            let mut cc = Command::new("cc");
            cc.args(["-static", "-O2", "-o"]).arg(directory.path().join(name)).arg(sources.join(format!("{name}.c")));
            if !cc.status()?.success() {
                return Err(format!("cc does not compile {name}.c").into());
            }
        }
        Ok(Self { directory })
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.directory.path().join(name));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    }
}

/// A program that is talked to through pipes, and ends when its input does.
struct Piped {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Piped {
    fn start(mut command: Command) -> Result<Self, Failure> {
        let mut child = command.spawn()?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().ok_or("no pipe")?);
        Ok(Self { child, input, output })
    }

    fn line(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line)
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        self.input = None;
        let _status = self.child.wait();
    }
}

/// Idle processes that end with this.
pub(crate) struct Crowd(Piped);

impl Crowd {
    pub(crate) fn start(programs: &Programs, count: usize, groups: &[PathBuf]) -> Result<Self, Failure> {
        let mut command = programs.command("crowd");
        command.arg(count.to_string()).args(groups);
        let mut crowd = Self(Piped::start(command)?);
        let ready = crowd.0.line()?;
        if ready.trim() == format!("ready {count}") {
            Ok(crowd)
        } else {
            Err(format!("the crowd says {ready:?}").into())
        }
    }
}

/// The loop that reads the same files.
pub(crate) struct Loop(Piped);

impl Loop {
    pub(crate) fn start(programs: &Programs) -> Result<Self, Failure> {
        Ok(Self(Piped::start(programs.command("loop"))?))
    }

    pub(crate) fn pass(&mut self) -> Result<Duration, Failure> {
        self.0.input.as_mut().ok_or("no pipe")?.write_all(b"\n")?;
        let line = self.0.line()?;
        Ok(Duration::from_nanos(line.split(' ').next().unwrap_or_default().parse()?))
    }
}

/// Cgroups for the crowd, in the hierarchy that lists processes; removed at the end.
pub(crate) struct Groups(Vec<PathBuf>);

impl Groups {
    pub(crate) fn create(count: usize) -> Result<Self, Failure> {
        let unified = Path::new("/sys/fs/cgroup/unified");
        let root = if unified.exists() { unified } else { Path::new("/sys/fs/cgroup") };
        let mut groups = Self(Vec::new());
        for number in 0..count {
            let directory = root.join(format!("scan-cost-{}-{number}", std::process::id()));
            std::fs::create_dir(&directory)?;
            groups.0.push(directory);
        }
        Ok(groups)
    }

    pub(crate) fn directories(&self) -> &[PathBuf] {
        &self.0
    }

    /// As if each of them were a box.
    pub(crate) fn registry(&self) -> Result<Registry, Failure> {
        let mounts = parse_cgroup_mounts(&std::fs::read("/proc/self/mountinfo")?);
        let mut registry = Registry::default();
        for (number, directory) in self.0.iter().enumerate() {
            let mut marks = BoxMarks::new(format!("g{number}").parse()?, Phase::Live);
            marks.cgroups.extend(CgroupMark::locate(directory, &mounts));
            registry.boxes.push(marks);
        }
        Ok(registry)
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for directory in &self.0 {
            // A process that was waited for leaves its cgroup a moment later.
            let removed = (0..1000).any(|_| {
                std::fs::remove_dir(directory).is_ok() || {
                    std::thread::yield_now();
                    false
                }
            });
            if !removed {
                println!("left behind: {}", directory.display());
            }
        }
    }
}
