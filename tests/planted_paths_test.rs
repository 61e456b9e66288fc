//! Whatever somebody has put where rustbox writes: a symbolic link, a pipe, a directory, a second name of another's file.
//!
//! Nothing is written through it, nobody hangs on it, and no box of such a run is left. That is for names in rustbox's own
//! directories, where only root could put them, and for reports beside which a payload may write.
//! Judge0 CVE-2024-28185 and 28189, Firecracker CVE-2026-1386, systemd CVE-2018-6954.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustbox_tests::{Lab, residue, wait_until};

/// What is put there.
#[derive(Clone, Copy, Debug)]
enum Plant {
    /// A symbolic link to the canary.
    Link,
    /// One to a file that does not exist, and must not come to be.
    Dangling,
    /// One to a directory of the canary's.
    ToDirectory,
    Pipe,
    Directory,
    /// Another name of the canary.
    HardLink,
}

const PLANTS: [Plant; 6] =
    [Plant::Link, Plant::Dangling, Plant::ToDirectory, Plant::Pipe, Plant::Directory, Plant::HardLink];

/// A run with nothing in its way takes a tenth of a second.
const SOON: Duration = Duration::from_secs(15);

/// A directory with a file that must stay as it is, and nothing else.
struct Canaries(PathBuf);

impl Canaries {
    fn make(lab: &Lab) -> Self {
        let canaries = Self(lab.path().join("canaries"));
        fs::create_dir(&canaries.0).expect("a directory");
        fs::write(canaries.file(), "CANARY\n").expect("a canary");
        canaries
    }

    fn file(&self) -> PathBuf {
        self.0.join("file")
    }

    /// Inode, mode, owner, times and content of the file, and the names beside it.
    fn mark(&self) -> (u64, u32, u32, i64, i64, Vec<u8>, Vec<PathBuf>) {
        let meta = fs::metadata(self.file()).expect("the canary");
        let names = fs::read_dir(&self.0).expect("the canaries").map(|entry| entry.expect("an entry").path());
        let text = fs::read(self.file()).expect("the canary");
        (meta.ino(), meta.mode(), meta.uid(), meta.mtime(), meta.mtime_nsec(), text, names.collect())
    }

    fn plant(&self, plant: Plant, at: &Path) {
        fs::create_dir_all(at.parent().expect("a directory")).expect("directories on the way");
        match plant {
            Plant::Link => symlink(self.file(), at).expect("a link"),
            Plant::Dangling => symlink(self.0.join("new"), at).expect("a link"),
            Plant::ToDirectory => symlink(&self.0, at).expect("a link"),
            Plant::Directory => fs::create_dir(at).expect("a directory"),
            Plant::HardLink => fs::hard_link(self.file(), at).expect("another name"),
            Plant::Pipe => {
                let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
                rustix::fs::mkfifoat(rustix::fs::CWD, at, mode).expect("a pipe");
            }
        }
    }
}

/// Where rustbox puts files for a box of this name, below its state directory.
fn own_names(box_id: &str) -> Vec<String> {
    let of_the_box = ["", "/lock", "/marks", "/marks.new", "/kept", "/kill-request"];
    let mut names: Vec<String> = of_the_box.iter().map(|name| format!("boxes/{box_id}{name}")).collect();
    names.extend(["boxes", "health", "health/state.json", "health/counters.log"].map(str::to_owned));
    names.push("health/quarantine-history.json".to_owned());
    names
}

#[test]
fn nothing_is_written_through_what_stands_where_rustbox_keeps_its_state() {
    let mut tried = 0;
    for name in own_names("BOX") {
        for plant in PLANTS {
            let lab = Lab::open("planted-state");
            let canaries = Canaries::make(&lab);
            let command = lab.a_box().attack("contain_double_fork", &[]).flags(["--quiet"]);
            let box_id = command.box_id().to_owned();
            let at = lab.state_dir().join(name.replace("BOX", &box_id));
            canaries.plant(plant, &at);
            // Its owner writes into it by right, as long as the name stays: only that is looked at.
            let before = canaries.mark();
            let running = command.start();
            assert!(running.pidfd().wait(SOON), "{name}: {plant:?}: it hangs");
            let code = running.exit_code();
            for verb in [&["cleanup", &box_id][..], &["health"], &["metrics"], &["health", "--recover"]] {
                let _told = lab.call(verb);
            }
            assert_eq!(canaries.mark(), before, "{name}: {plant:?}: exit {code:?}");
            assert!(code.is_some(), "{name}: {plant:?}: killed by a signal");
            let left = residue(&box_id, &lab.state_dir());
            let alive: Vec<_> = left.iter().filter(|line| !line.starts_with("directory ")).collect();
            assert!(alive.is_empty(), "{name}: {plant:?}: {alive:?}");
            tried += 1;
        }
    }
    assert_eq!(tried, own_names("BOX").len() * PLANTS.len());
}

#[test]
fn nothing_is_written_through_what_a_payload_puts_where_a_report_goes() {
    for (flag, name) in [("--json=", "report.json"), ("--meta=", "meta"), ("--stdout=", "out"), ("--stderr=", "err")] {
        for plant in PLANTS {
            let lab = Lab::open("planted-report");
            let canaries = Canaries::make(&lab);
            let shared = lab.path().join("shared");
            fs::create_dir(&shared).expect("a directory");
            fs::set_permissions(&shared, PermissionsExt::from_mode(0o777)).expect("open it");
            canaries.plant(plant, &shared.join(name));
            let before = canaries.mark();
            let mut command = lab.rustbox();
            let flag = format!("{flag}{}", shared.join(name).display());
            command.args(["run", "--quiet", &flag, "--", "/bin/echo", "from the box"]);
            let mut child = command.stderr(std::process::Stdio::null()).spawn().expect("start rustbox");
            let ended = wait_until(SOON, || child.try_wait().expect("wait"));
            if ended.is_none() {
                child.kill().expect("end it");
                child.wait().expect("reap it");
            }
            let code = ended.unwrap_or_else(|| panic!("{flag}: {plant:?}: it hangs")).code();
            // Only the kernel knows that a file has a second name, and it is the caller who named it.
            let by_right = matches!((plant, name), (Plant::HardLink, "out" | "err"));
            assert!(canaries.mark() == before || by_right, "{flag}: {plant:?}: exit {code:?}");
            assert!(code.is_some(), "{flag}: {plant:?}");
        }
    }
}

#[test]
fn a_program_that_follows_links_is_seen_to_write_through_them() {
    // The control: the same places, and a shell that writes there as anybody would.
    let lab = Lab::open("planted-control");
    let canaries = Canaries::make(&lab);
    for (number, plant) in [Plant::Link, Plant::Dangling, Plant::HardLink].into_iter().enumerate() {
        let at = lab.path().join(format!("place-{number}"));
        canaries.plant(plant, &at);
        let before = canaries.mark();
        let text = format!("echo report > {}", at.display());
        let status = std::process::Command::new("/bin/sh").args(["-c", &text]).status().expect("a shell");
        assert!(status.success() && canaries.mark() != before, "{plant:?}");
    }
}
