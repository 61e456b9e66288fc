//! A worker of a trial, with a dead box.

use std::ffi::OsString;
use std::fs::File;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustbox_core::{ProcessKey, Record};
use rustbox_tests::{Canary, Drive, Lab, forged_record, residue, rustbox, wait_clean};
use serde_json::Value;

/// How often the second command is tried while somebody else's box is in its way.
const ATTEMPTS: usize = 20;

/// A worker of a trial: directories of its own, a dead box with everything that one can leave, a stranger.
pub(crate) struct Scene {
    pub(crate) directory: PathBuf,
    dead: [String; 2],
    member: Child,
    stranger: Canary,
}

impl Scene {
    pub(crate) fn set(lab: &Lab, number: usize) -> Self {
        let directory = lab.path().join(format!("scene-{number}"));
        std::fs::create_dir(&directory).expect("a directory of the scene");
        let dead = ["full", "torn"].map(|kind| format!("{}-{number}-{kind}", lab.prefix()));
        let stranger = Canary::start(&format!("{}-canary-{number}", lab.prefix()));
        let member = Command::new("/bin/cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("a member");
        let scene = Self { directory, dead, member, stranger };
        assert_eq!(scene.call(&["ps"]).status.code(), Some(0), "makes the directories");
        assert!(scene.call(&["health", "--quarantine", "--reason", "cleanup_failure"]).status.success());
        scene.leave(number);
        scene
    }

    /// What a supervisor and its keeper leave when both are killed at the worst moment, with a record that lies.
    fn leave(&self, number: usize) {
        let [whole, torn] = &self.dead;
        let mut groups = Vec::new();
        let roots = String::from_utf8_lossy(&self.call(&["cgroup-root"]).stdout).into_owned();
        for root in roots.lines().map(Path::new) {
            let group = root.join(format!("rustbox-{whole}"));
            if std::fs::create_dir(&group).is_err() {
                continue;
            }
            // A v1 cpuset takes nobody before it has CPUs; that hierarchy's directory is left empty.
            let _joined = std::fs::write(group.join("cgroup.procs"), self.member.id().to_string());
            let _nested = std::fs::create_dir(group.join("nested"));
            let _frozen = std::fs::write(group.join("cgroup.freeze"), "1");
            groups.push(group.display().to_string());
        }
        assert!(!groups.is_empty(), "no cgroup could be made");
        let strangers = [1, self.stranger.pid(), std::process::id(), 0];
        let pid = strangers[number % strangers.len()];
        let init = Some(ProcessKey { pid: self.stranger.pid(), starttime_ticks: 0 });
        let record = Record { pid, cgroups: groups, init, ..forged_record(whole, UID) };
        let text = serde_json::to_string(&record).expect("a record");
        let boxes = self.directory.join("state/boxes");
        for (id, text) in [(whole, text.as_str()), (torn, "{\"pid\": -1, torn")] {
            std::fs::create_dir(boxes.join(id)).expect("a box's directory");
            std::fs::write(boxes.join(id).join("lock"), text).expect("a record");
        }
        std::fs::write(boxes.join(whole).join("marks"), text).expect("marks");
        let lease = format!("{whole} {}\n", record.boot_id);
        std::fs::write(self.directory.join("runtime/uids").join(UID.to_string()), lease).expect("a lease");
    }

    fn words(&self, verb: &[&str]) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec![rustbox().into()];
        for (flag, name) in [("--state-dir", "state"), ("--runtime-dir", "runtime")] {
            words.extend([flag.into(), self.directory.join(name).into()]);
        }
        words.extend(verb.iter().map(Into::into));
        words
    }

    fn call(&self, verb: &[&str]) -> Output {
        let words = self.words(verb);
        Command::new(&words[0]).args(&words[1..]).stdin(Stdio::null()).output().expect("start rustbox")
    }

    pub(crate) fn drive(&self, verb: &[&str], drive: &Drive) -> rustbox_tests::Driven {
        let file = |name| File::create(self.directory.join(name)).expect("an output file");
        drive.run(&self.words(verb), &self.directory, (file("out"), file("err")))
    }

    /// The generation of the state; what a kill leaves must always be a state.
    pub(crate) fn generation(&self) -> Result<u64, String> {
        let path = self.directory.join("state/health/state.json");
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let state: Value = serde_json::from_str(&text).map_err(|e| format!("a torn state: {e}: {text}"))?;
        state["generation"].as_u64().ok_or_else(|| format!("no generation: {text}"))
    }

    fn count(&self, series: &str) -> u64 {
        let text = String::from_utf8_lossy(&self.call(&["metrics"]).stdout).into_owned();
        let counts = text.lines().filter_map(|line| line.strip_prefix(series)?.rsplit(' ').next()?.parse::<u64>().ok());
        counts.sum()
    }

    fn history(&self, what: &str) -> usize {
        let path = self.directory.join("state/health/quarantine-history.json");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().filter(|line| line.contains(&format!("\"what\":\"{what}\""))).count()
    }

    /// Recovers until nothing is in the way, and returns how often that took: once, unless somebody else on this host is
    /// collecting the same cgroup at this moment.
    fn recover(&self) -> Result<u64, String> {
        let mut times = 0;
        for _ in 0..ATTEMPTS {
            let output = self.call(&["health", "--recover"]);
            times += 1;
            let records = self.dead.iter().filter(|id| self.directory.join("state/boxes").join(id).exists());
            if output.status.success() && records.count() == 0 {
                return Ok(times);
            }
        }
        Err(format!("recovery does not end well: {:?}", self.call(&["health", "--recover"])))
    }

    /// What is wrong after the command was killed and recovery ran again, and how often it had to. So many recoveries had
    /// come to their end before.
    pub(crate) fn judge(&mut self, ended: RangeInclusive<u64>) -> (Vec<String>, u64) {
        match self.recover() {
            Ok(again) => (self.wrong(ended.start() + again..=ended.end() + again), again),
            Err(error) => (vec![error], 0),
        }
    }

    /// What is not as after this many recoveries that came to their end.
    pub(crate) fn wrong(&mut self, ended: RangeInclusive<u64>) -> Vec<String> {
        let mut wrong = Vec::new();
        if !matches!(self.member.try_wait(), Ok(Some(_))) {
            wrong.push("the dead box's process lives".to_owned());
        }
        for id in &self.dead {
            let left = residue(id, &self.directory.join("state"));
            if !left.is_empty() && !wait_clean(id, &self.directory.join("state")).is_empty() {
                wrong.push(format!("left {left:?}"));
            }
        }
        let lease = std::fs::read_to_string(self.directory.join("runtime/uids").join(UID.to_string()));
        if lease.is_ok_and(|text| !text.is_empty()) {
            wrong.push("the uid is leased still".to_owned());
        }
        if self.call(&["health", "--check"]).status.code() != Some(0) {
            wrong.push(format!("not healthy: {:?}", self.call(&["health"])));
        }
        let recoveries = self.count("rustbox_recoveries_total{");
        if !ended.contains(&recoveries) {
            wrong.push(format!("{ended:?} recoveries came to their end, and {recoveries} are counted"));
        }
        let quarantines = self.count("rustbox_worker_quarantined_total{reason=\"cleanup_failure\"}");
        let told = (self.history("quarantined"), self.history("recovered"));
        if (quarantines, told) != (1, (1, 1)) {
            wrong.push(format!("{quarantines} quarantines are counted, and the history has {told:?}"));
        }
        wrong
    }

    pub(crate) fn end(mut self) {
        // A child of ours, which is a zombie at worst.
        let _killed = self.member.kill();
        let _ended = self.member.wait();
        self.stranger.assert_unharmed();
        std::fs::remove_dir_all(&self.directory).expect("remove the scene");
    }
}

/// In a runtime directory of the scene's own, so it is nobody else's.
const UID: u32 = 70_999;
