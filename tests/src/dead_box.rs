//! A box whose supervisor and keeper are dead, made by hand: everything that one can leave, and a record that lies.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustbox_core::{ProcessKey, Record};

use crate::binary::rustbox;
use crate::canary::Canary;
use crate::driver::{Drive, Driven};
use crate::host::CgroupLayout;
use crate::lab::Lab;
use crate::pidfd::wait_until;
use crate::residue::{BOUND, wait_clean};

/// In a runtime directory of its own, so it is nobody else's.
const UID: u32 = 70_998;

/// A record of this boot that names no process and no cgroup: what it lies about is for the test to fill in.
///
/// # Panics
/// When that is no box id, or the host does not tell its boot id.
#[must_use]
pub fn forged_record(box_id: &str, uid: u32) -> Record {
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("the boot id");
    Record {
        schema: Record::SCHEMA.to_owned(),
        box_id: box_id.parse().expect("a box id"),
        pid: 0,
        starttime_ticks: 0,
        boot_id: boot_id.trim().to_owned(),
        timestamp: "2026-01-01T00:00:00Z".to_owned(),
        uid,
        cgroups: Vec::new(),
        supervisor_pid_namespace: None,
        init: None,
        pid_namespace: None,
        audit_session: None,
        argv: vec!["/bin/cat".to_owned()],
        memory_max_bytes: 1 << 20,
        pids_max: 1,
    }
}

/// A worker of its own, with one dead box: a record that names strangers, marks, a lease, a frozen cgroup with a living
/// process in every hierarchy that takes one, and a directory below it.
#[derive(Debug)]
pub struct DeadBox {
    directory: PathBuf,
    box_id: String,
    member: Child,
    stranger: Canary,
}

impl DeadBox {
    /// Makes one. `number` is its own among those of the lab, and chooses the lie of its record.
    ///
    /// # Panics
    /// When the host does not let it be made.
    #[must_use]
    pub fn leave(lab: &Lab, number: usize) -> Self {
        let directory = lab.path().join(format!("dead-{number}"));
        fs::create_dir(&directory).expect("a directory of its own");
        let box_id = format!("{}-dead-{number}", lab.prefix());
        let stranger = Canary::start(&format!("{box_id}-stranger"));
        let member = Command::new("/bin/cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("a member");
        let dead = Self { directory, box_id, member, stranger };
        // It makes the directories.
        assert!(dead.call(&["ps"]).status.success());
        let cgroups = dead.make_cgroups();
        dead.write_records(number, cgroups);
        dead
    }

    fn make_cgroups(&self) -> Vec<String> {
        let mut made = Vec::new();
        // Where rustbox makes cgroups, and nowhere else.
        let roots = String::from_utf8_lossy(&self.call(&["cgroup-root"]).stdout).into_owned();
        for root in roots.lines().map(Path::new) {
            let group = root.join(format!("rustbox-{}", self.box_id));
            if fs::create_dir(&group).is_err() {
                continue;
            }
            // A v1 cpuset takes nobody before it has CPUs; that hierarchy's directory is left empty.
            let _joined = fs::write(group.join("cgroup.procs"), self.member.id().to_string());
            let _nested = fs::create_dir(group.join("nested"));
            let _frozen = fs::write(group.join("cgroup.freeze"), "1");
            made.push(group.display().to_string());
        }
        assert!(!made.is_empty(), "no cgroup could be made");
        made
    }

    fn write_records(&self, number: usize, cgroups: Vec<String>) {
        let strangers = [self.stranger.pid(), 1, std::process::id(), 0];
        let record = Record {
            pid: strangers[number % strangers.len()],
            cgroups,
            init: Some(ProcessKey { pid: self.stranger.pid(), starttime_ticks: 0 }),
            ..forged_record(&self.box_id, UID)
        };
        let text = serde_json::to_string(&record).expect("a record");
        let lease = format!("{} {}\n", self.box_id, record.boot_id);
        let place = self.state_dir().join("boxes").join(&self.box_id);
        fs::create_dir(&place).expect("a box's directory");
        for name in ["lock", "marks"] {
            fs::write(place.join(name), &text).expect("a record");
        }
        fs::write(self.lease(), lease).expect("a lease");
    }

    /// Makes its records unreadable, as a disk may.
    ///
    /// # Panics
    /// When they cannot be written.
    pub fn tear_the_records(&self) {
        let place = self.state_dir().join("boxes").join(&self.box_id);
        for name in ["lock", "marks"] {
            fs::write(place.join(name), "{\"pid\": -1, torn").expect("a torn record");
        }
    }

    /// Its name.
    #[must_use]
    pub fn box_id(&self) -> &str {
        &self.box_id
    }

    fn state_dir(&self) -> PathBuf {
        self.directory.join("state")
    }

    fn lease(&self) -> PathBuf {
        self.directory.join("runtime/uids").join(UID.to_string())
    }

    fn words(&self, verb: &[&str]) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec![rustbox().into(), "--state-dir".into(), self.state_dir().into()];
        words.extend(["--runtime-dir".into(), self.directory.join("runtime").into()]);
        words.extend(verb.iter().map(Into::into));
        words
    }

    /// Runs a verb of `rustbox` to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn call(&self, verb: &[&str]) -> Output {
        let words = self.words(verb);
        Command::new(&words[0]).args(&words[1..]).stdin(Stdio::null()).output().expect("start rustbox")
    }

    /// Runs a verb under a driver; what it printed can be [read](Self::said) afterwards.
    ///
    /// # Panics
    /// When the tracing itself fails.
    #[must_use]
    pub fn drive(&self, verb: &[&str], drive: &Drive) -> Driven {
        let file = |name| File::create(self.directory.join(name)).expect("an output file");
        drive.run(&self.words(verb), &self.directory, (file("out"), file("err")))
    }

    /// What the driven verb printed, on both streams.
    #[must_use]
    pub fn said(&self) -> String {
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        read(&self.directory.join("out")) + &read(&self.directory.join("err"))
    }

    /// What is left of it, one sentence each.
    ///
    /// # Panics
    /// When its process cannot be waited for.
    #[must_use]
    pub fn left(&mut self) -> Vec<String> {
        let ended = wait_until(BOUND, || self.member.try_wait().expect("wait for the member"));
        let mut left = wait_clean(&self.box_id, &self.state_dir());
        if ended.is_none() {
            left.push("its process lives".to_owned());
        }
        if fs::read_to_string(self.lease()).is_ok_and(|text| !text.is_empty()) {
            left.push("its uid is leased".to_owned());
        }
        left
    }

    /// Whether the stranger that its record names lives and has not even been stopped.
    #[must_use]
    pub fn spared_the_stranger(&self) -> bool {
        self.stranger.is_unharmed()
    }
}

impl Drop for DeadBox {
    fn drop(&mut self) {
        // A child of ours, which is a zombie at worst; in a frozen cgroup it dies once that is thawed.
        let _killed = self.member.kill();
        for group in CgroupLayout::read().directories(&format!("rustbox-{}", self.box_id)) {
            let _thawed = fs::write(group.join("cgroup.freeze"), "0");
            let _nested = fs::remove_dir(group.join("nested"));
        }
        let _ended = self.member.wait();
        for group in CgroupLayout::read().directories(&format!("rustbox-{}", self.box_id)) {
            let _removed = fs::remove_dir(group);
        }
        let _gone = fs::remove_dir_all(&self.directory);
    }
}
