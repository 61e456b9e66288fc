//! The same actions, done to real processes; what the kernel shows of them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustbox_core::{ContainmentVerdict, RUN_SCHEMA, RunReport};
use rustbox_model::Supervisor;
use rustbox_tests::{
    BoxCommand, Canary, CgroupLayout, Drive, End, Fault, Lab, PidFd, RunningBox, SeenProcess, processes_of,
    reap_orphans, residue, scan, wait_until,
};
use rustix::process::Signal;

use super::moments::{Moments, short};
use super::world::{Act, Seen, Victim, World};

/// The program under test.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program<'a> {
    pub(crate) path: &'a Path,
    /// The defect that it has.
    pub(crate) bug: &'a str,
    /// How long the kernel and a keeper have to do what they do by themselves.
    pub(crate) patience: Duration,
}

/// One name of a box, and who is there under it.
struct Scene<'lab, 'program> {
    lab: &'lab Lab,
    program: Program<'program>,
    moments: &'program Moments,
    box_id: String,
    layout: CgroupLayout,
    running: Option<Running<'lab>>,
    runs: usize,
}

/// A run that goes on, and its two helpers.
struct Running<'lab> {
    command: RunningBox<'lab>,
    /// Its number among the runs.
    number: usize,
    keeper: PidFd,
    init: PidFd,
}

/// What a run said at its end.
struct Said {
    end: End,
    result: Option<String>,
}

/// Does one action after the other, and after each compares what is there with the reference; what is wrong first, if
/// anything is.
pub(crate) fn play(
    lab: &Lab,
    program: Program<'_>,
    moments: &Moments,
    acts: &[Act],
    mut done: impl FnMut(Act),
) -> Result<(), String> {
    let box_id = lab.a_box().box_id().to_owned();
    let canary = Canary::start(&box_id);
    let layout = CgroupLayout::read();
    let mut scene = Scene { lab, program, moments, box_id, layout, running: None, runs: 0 };
    let mut world = World::new();
    for act in acts {
        let at = |why: String| format!("{act:?} of {acts:?}: {why}");
        let (expected, said) = scene.act(*act, &world).map_err(at)?;
        world = scene.settle(expected).map_err(at)?;
        scene.check(&world, said.as_ref()).map_err(at)?;
        if !canary.is_unharmed() {
            return Err(at("a stranger was harmed".to_owned()));
        }
        done(*act);
    }
    Ok(())
}

impl<'lab> Scene<'lab, '_> {
    fn command(&self) -> BoxCommand<'lab> {
        let name = format!("{}-{}", self.box_id, self.runs);
        let command = self.lab.a_box().named(&self.box_id).report_as(&name).program(self.program.path);
        command.wrapped(["env".to_owned(), format!("RUSTBOX_PLANTED={}", self.program.bug)])
    }

    /// Does it; what may be then, and what a run said that ended with it.
    fn act(&mut self, act: Act, world: &World) -> Result<(World, Option<Said>), String> {
        let mut expected = world.after(act);
        let said = match act {
            Act::Run => self.run()?,
            Act::RunKilled(at) => self.drive(&[(self.moments.of_supervisor(at), Fault::Kill)], world, &mut expected),
            Act::RunKilledWithKeeper(at, keeper) => {
                let faults = [self.moments.of_supervisor(at), self.moments.of_keeper(keeper)];
                self.drive(&faults.map(|boundary| (boundary, Fault::Kill)), world, &mut expected)
            }
            Act::RunInitKilled(at) => self.drive(&[(self.moments.of_init(at), Fault::Kill)], world, &mut expected),
            Act::End => self.over(|running| drop(running.command.take_stdin())),
            Act::Interrupt => self.over(|running| running.command.signal(Signal::TERM)),
            Act::Kill(Victim::Supervisor) => self.over(|running| running.command.signal(Signal::KILL)),
            Act::Kill(Victim::Init) => self.over(|running| running.init.signal(Signal::KILL)),
            Act::KillAll => self.over(|running| {
                running.command.signal(Signal::KILL);
                running.keeper.signal(Signal::KILL);
                running.init.signal(Signal::KILL);
            }),
            Act::Kill(Victim::Keeper) => {
                self.running.iter().for_each(|running| running.keeper.signal(Signal::KILL));
                None
            }
            Act::Wedge => {
                self.running.iter().for_each(|running| running.init.signal(Signal::STOP));
                None
            }
            Act::Cleanup => {
                self.call(&["cleanup", &self.box_id])?;
                self.over(|_| {})
            }
            Act::Recover => {
                let output = self.lab.call(["health", "--recover"]);
                // It looks at the whole host, where others may have left something.
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                let told = said.lines().any(|line| !line.contains(": done: ") && line.contains(&self.box_id));
                match output.status.code() {
                    Some(0) => {}
                    // For that it takes the worker out, which is ours.
                    Some(1 | 2) if !told => {
                        self.call(&["health", "--unquarantine", "--reason", "somebody else's", "--force"])?;
                    }
                    _ => return Err(format!("{output:?}")),
                }
                None
            }
            Act::RemoveCgroup => {
                // Removed on one hierarchy after the other, as an operator would.
                let directories = self.layout.directories(&format!("rustbox-{}", self.box_id));
                directories.iter().for_each(|directory| _ = fs::remove_dir(directory));
                None
            }
            Act::RemoveRecord => {
                _ = fs::remove_dir_all(self.directory());
                None
            }
        };
        Ok((expected, said))
    }

    fn directory(&self) -> PathBuf {
        self.lab.state_dir().join("boxes").join(&self.box_id)
    }

    /// A run whose payload stays: until that is there, or until the run is refused.
    fn run(&mut self) -> Result<Option<Said>, String> {
        self.runs += 1;
        let command = self.command().attack("contain_spawn_race", &["fork"]).flags(["--quiet"]).stdin(Stdio::piped());
        let running = command.start();
        let armed = wait_until(Duration::from_secs(10), || {
            (running.stdout().contains("armed:") || running.pidfd().wait(Duration::ZERO)).then_some(())
        });
        armed.ok_or("neither armed nor ended")?;
        if running.pidfd().wait(Duration::ZERO) {
            return Ok(Some(self.ended(running, self.runs)));
        }
        let children: Vec<SeenProcess> = scan().into_iter().filter(|p| p.ppid == running.pid()).collect();
        let named = |name: &str| children.iter().find(|p| p.comm == name).and_then(|p| PidFd::open(p.pid));
        let keeper = named("rustbox-keeper").ok_or("no keeper")?;
        let init = named("rustbox-init").ok_or("no init")?;
        self.running = Some(Running { command: running, number: self.runs, keeper, init });
        Ok(None)
    }

    /// A run that is ended by what is done to it.
    fn over(&mut self, how: impl FnOnce(&mut Running<'lab>)) -> Option<Said> {
        let mut running = self.running.take()?;
        how(&mut running);
        Some(self.ended(running.command, running.number))
    }

    fn ended(&self, running: RunningBox<'lab>, number: usize) -> Said {
        let ended = running.pidfd().wait(Duration::from_secs(20));
        let code = if ended { running.exit_code() } else { None };
        let end = match (ended, code) {
            (false, _) => End::Hung,
            (true, Some(code)) => End::Exited(code),
            (true, None) => End::Signaled(9),
        };
        Said { end, result: self.result(number) }
    }

    fn result(&self, number: usize) -> Option<String> {
        let path = self.lab.path().join(format!("{}-{number}.json", self.box_id));
        fs::read_to_string(path).ok().filter(|text| !text.is_empty())
    }

    /// A run under the driver. Where its moment was not reached, the run came to its own end.
    fn drive(
        &mut self,
        faults: &[(rustbox_tests::Boundary, Fault)],
        world: &World,
        expected: &mut World,
    ) -> Option<Said> {
        self.runs += 1;
        let command = short(self.command());
        let driven = command.drive(&Drive { faults: faults.to_vec(), ..Drive::default() });
        if !driven.reached() {
            *expected = expected.clone().or(world.run_through());
        }
        Some(Said { end: driven.end, result: self.result(self.runs) })
    }

    /// Another verb, which must say that it succeeded: nothing that is done here is in its way.
    fn call(&self, words: &[&str]) -> Result<(), String> {
        let output = self.lab.call(words);
        if output.status.success() { Ok(()) } else { Err(format!("{output:?}")) }
    }

    /// Waits until what is there is what may be there.
    fn settle(&self, expected: World) -> Result<World, String> {
        let mut last = None;
        let found = wait_until(self.program.patience, || {
            reap_orphans();
            let seen = self.look();
            let mut world = expected.clone();
            world.narrow(seen);
            last = Some(seen);
            (!world.is_empty()).then_some(world)
        });
        found.ok_or_else(|| {
            let allowed: Vec<Seen> = expected.states().map(Seen::of).collect();
            format!("{last:?} is none of {allowed:?}: {:#?}", residue(&self.box_id, &self.lab.state_dir()))
        })
    }

    fn look(&self) -> Seen {
        let here: Vec<SeenProcess> = processes_of(&self.box_id).into_iter().filter(|p| !is_handed_over(p)).collect();
        let has = |name: &str| here.iter().any(|p| p.comm == name);
        let own = ["rustbox-keeper", "rustbox-init", "rustbox", "rustbox-planted", "env"];
        let lock = self.directory().join("lock");
        Seen {
            supervisor: has("rustbox") || has("rustbox-planted") || has("env"),
            keeper: has("rustbox-keeper"),
            init: has("rustbox-init"),
            payload: here.iter().any(|p| !own.contains(&p.comm.as_str())),
            locked: fs::metadata(&lock).is_ok_and(|lock| is_locked(lock.ino())),
            record: lock.exists(),
            cgroup: !self.layout.directories(&format!("rustbox-{}", self.box_id)).is_empty(),
        }
    }

    /// What a run said, and what is left where nothing may be.
    fn check(&self, world: &World, said: Option<&Said>) -> Result<(), String> {
        let keeper_died = world.states().any(|s| s.keeper_died.contains(&true));
        let blank = world.states().all(|s| s.record.is_none() && s.cgroup.is_none());
        if blank && !keeper_died && self.running.is_none() {
            let left = residue(&self.box_id, &self.lab.state_dir());
            let left: Vec<_> = left.into_iter().filter(|line| !line.starts_with("zombie for pid 1")).collect();
            if !left.is_empty() {
                return Err(format!("left {left:#?}"));
            }
        }
        let Some(said) = said else { return Ok(()) };
        let may = |ended: Supervisor| world.states().any(|s| s.supervisors.contains(&ended));
        let ended = [Supervisor::Reported, Supervisor::Dead];
        let may_be_refused = world.states().any(|s| !s.supervisors.iter().any(|one| ended.contains(one)));
        let report = said.result.as_deref().filter(|text| text.contains(RUN_SCHEMA));
        let report = report.map(serde_json::from_str::<RunReport>).transpose();
        let report = report.map_err(|error| format!("a report that does not parse: {error}"))?;
        match (said.end, report) {
            (End::Exited(code), Some(report)) => {
                let contained = report.containment.verdict == ContainmentVerdict::Contained;
                // Of a box that was not made, since something strange has its name, nobody knows what survives there.
                let was_made = report.setup_failure.is_none();
                let knows = report.containment.survivors.map_or(!was_made, |left| left == 0);
                let is_true = contained && knows && code == i32::from(report.exit_code);
                if is_true && may(Supervisor::Reported) { Ok(()) } else { Err(format!("{code}: {report:?}")) }
            }
            (End::Exited(code), None) if code != 0 && may_be_refused => Ok(()),
            (End::Signaled(9), None) if may(Supervisor::Dead) => Ok(()),
            (end, report) => Err(format!("it ended with {end:?}, and reported {report:?}")),
        }
    }
}

/// What a sequence leaves that failed, or was not over, is removed.
impl Drop for Scene<'_, '_> {
    fn drop(&mut self) {
        drop(self.running.take());
        rustbox_tests::clear_wreck(&self.box_id, self.lab);
    }
}

/// A dead one that the host's pid 1 will reap.
fn is_handed_over(process: &SeenProcess) -> bool {
    process.is_zombie() && process.ppid == 1
}

/// Whether anybody holds a lock on the file of this inode. To try the lock would be to be in the way of who wants it.
fn is_locked(inode: u64) -> bool {
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    locks.lines().any(|line| line.contains("FLOCK") && line.contains(&format!(":{inode} ")))
}
