//! What holds when something is in the way: nothing is half made, nothing of others is touched.

use std::path::Path;
use std::time::Duration;

use crate::common::{Box, DEADLINE, assert_empty, fresh_id, limits, on_each_backend};
use rustbox_cgroup::{BoxCgroup, Emptied, Error, Hierarchies, Lock, Verdict};
use rustbox_core::{BoxId, CgroupBackend, Mode};

/// Removes a directory that a test made by hand.
struct ByHand<'a>(&'a Path);

impl<'a> ByHand<'a> {
    fn make(path: &'a Path) -> Self {
        std::fs::create_dir(path).expect("a directory by hand");
        Self(path)
    }
}

impl Drop for ByHand<'_> {
    fn drop(&mut self) {
        let _gone_already = std::fs::remove_dir(self.0);
    }
}

#[test]
fn a_box_cannot_be_made_twice() {
    on_each_backend(|hierarchies| {
        let id = fresh_id("twice");
        let a_box = Box::create_as(hierarchies, &id, &limits());
        let again = hierarchies.create(&id, &limits(), Mode::Strict);
        assert!(matches!(&again, Err(Error::Exists { path }) if *path == a_box.group().paths()[0]), "{again:?}");
        assert!(a_box.group().paths().iter().all(|path| path.is_dir()), "the first box is untouched");
        a_box.remove();
    });
}

#[test]
fn a_creation_that_fails_at_any_directory_leaves_nothing() {
    on_each_backend(|hierarchies| {
        let id = fresh_id("midway");
        let plan = BoxCgroup::plan_paths(hierarchies, &id, &limits());
        for in_the_way in &plan {
            let by_hand = ByHand::make(in_the_way);
            let failed = match hierarchies.create(&id, &limits(), Mode::Strict) {
                Err(failed) => failed,
                // Somebody who collects what is nobody's took the directory away.
                Ok(made) => panic!("{} was no obstacle; removed: {:?}", in_the_way.display(), made.remove(DEADLINE)),
            };
            assert!(matches!(&failed, Error::Exists { path } if path == in_the_way), "{failed:?}");
            for path in &plan {
                assert_eq!(path.exists(), path == in_the_way, "{}", path.display());
            }
            drop(by_hand);
        }
    });
}

#[test]
fn a_limit_that_the_kernel_refuses_leaves_nothing() {
    on_each_backend(|hierarchies| {
        let id = fresh_id("refused");
        let mut no_such_cpu = limits();
        no_such_cpu.cpuset = Some("60000".parse().unwrap());
        let plan = BoxCgroup::plan_paths(hierarchies, &id, &no_such_cpu);
        let failed = hierarchies.create(&id, &no_such_cpu, Mode::Strict);
        assert!(
            matches!(
                &failed,
                Err(Error::WriteAttr { attr: "cpuset.cpus", .. }
                    | Error::ControlsMissing { .. }
                    | Error::ReadBackDiffers { .. })
            ),
            "{failed:?}"
        );
        assert!(plan.iter().all(|path| !path.exists()));
    });
}

#[test]
fn a_live_box_is_busy_to_everybody_else_whatever_their_backend() {
    on_each_backend(|hierarchies| {
        let a_box = Box::create(hierarchies, "busy", &limits());
        let id = a_box.group().id().clone();
        for view in [Some(CgroupBackend::Hybrid), Some(CgroupBackend::V1), Some(CgroupBackend::V2), None] {
            let Ok(view) = Hierarchies::detect(view) else { continue };
            let Some(mut found) = view.open_existing(&id).unwrap() else { continue };
            assert_eq!(found.lock().unwrap(), Lock::Busy, "as seen with {}", view.backend());
        }
        let missing_primary = a_box.group().paths();
        assert!(missing_primary.iter().all(|path| path.is_dir()));
        a_box.remove();
    });
}

#[test]
fn a_dead_box_is_found_locked_emptied_and_removed() {
    on_each_backend(|hierarchies| {
        let mut a_box = Box::create(hierarchies, "dead", &limits());
        a_box.run("exec sleep 1000");
        let id = a_box.group().id().clone();
        // The supervisor dies: its descriptors are closed, and nothing else happens.
        drop(a_box.group.take());
        assert!(hierarchies.boxes().unwrap().contains(&id));
        let mut found = hierarchies.open_existing(&id).unwrap().expect("still there");
        lock_of_the_dead(&mut found);
        let mut rival = hierarchies.open_existing(&id).unwrap().expect("still there");
        assert_eq!(rival.lock().unwrap(), Lock::Busy);
        let _method = found.kill().unwrap();
        assert_empty(found.wait_empty(DEADLINE).unwrap());
        a_box.reap();
        found.remove(DEADLINE).unwrap();
        assert_eq!(rival.lock().unwrap(), Lock::Replaced);
        assert!(hierarchies.open_existing(&id).unwrap().is_none());
        assert!(!hierarchies.boxes().unwrap().contains(&id));
    });
}

/// Takes a lock whose holder is dead. The other tests of this program start processes, and between fork and exec each
/// of those holds every lock for a moment.
fn lock_of_the_dead(found: &mut BoxCgroup) {
    let begun = std::time::Instant::now();
    loop {
        match found.lock().unwrap() {
            Lock::Acquired => return,
            other @ (Lock::Busy | Lock::Replaced) => {
                assert!(other == Lock::Busy && begun.elapsed() < DEADLINE, "{other:?}")
            }
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_box_that_another_backend_made_is_collected_whole() {
    on_each_backend(|hierarchies| {
        let mut a_box = Box::create(hierarchies, "other", &limits());
        a_box.run("exec sleep 1000");
        let id = a_box.group().id().clone();
        let paths = a_box.group().paths();
        drop(a_box.group.take());
        // What hybrid and v1 see of each other's boxes differs; whoever sees the processes must end them.
        let other = [CgroupBackend::Hybrid, CgroupBackend::V1].into_iter().find(|b| *b != hierarchies.backend());
        if let Some(mut found) = Hierarchies::detect(other).ok().and_then(|h| h.open_existing(&id).unwrap()) {
            lock_of_the_dead(&mut found);
            let _method = found.kill().unwrap();
            assert_empty(found.wait_empty(DEADLINE).unwrap());
            a_box.reap();
            found.remove(DEADLINE).unwrap();
        }
        if let Some(found) = hierarchies.open_existing(&id).unwrap() {
            let _method = found.kill().unwrap();
            a_box.reap();
            assert_empty(found.wait_empty(DEADLINE).unwrap());
            found.remove(DEADLINE).unwrap();
        }
        assert!(paths.iter().all(|path| !path.exists()));
    });
}

#[test]
fn a_directory_of_a_service_manager_is_no_box() {
    on_each_backend(|hierarchies| {
        let root = hierarchies.roots().remove(0);
        let unit = root.join(format!("rustbox-{}.service", fresh_id("unit")));
        let _by_hand = ByHand::make(&unit);
        let boxes: Vec<BoxId> = hierarchies.boxes().unwrap();
        assert!(boxes.iter().all(|id| root.join(id.cgroup_name()) != unit), "{boxes:?}");
    });
}

#[test]
fn a_child_directory_is_removed_with_the_box() {
    on_each_backend(|hierarchies| {
        let a_box = Box::create(hierarchies, "nested", &limits());
        for path in a_box.group().paths() {
            std::fs::create_dir_all(path.join("a/b")).unwrap();
            std::fs::create_dir(path.join("c")).unwrap();
        }
        a_box.remove();
    });
}

#[test]
fn a_populated_directory_is_named_when_it_cannot_be_removed() {
    on_each_backend(|hierarchies| {
        let mut a_box = Box::create(hierarchies, "populated", &limits());
        let pid = a_box.run("exec sleep 1000");
        let emptied = a_box.group().wait_empty(Duration::from_millis(5)).unwrap();
        assert!(matches!(&emptied, Emptied::Populated { members: Some(m), .. } if *m == [pid]), "{emptied:?}");
        let id = a_box.group().id().clone();
        let paths = a_box.group().paths();
        let error = a_box.group.take().unwrap().remove(Duration::from_millis(5)).expect_err("a process is in it");
        let named: Vec<_> = error.failures.iter().rev().map(|failure| failure.path.clone()).collect();
        assert_eq!(named, paths);
        assert!(error.failures.iter().all(|f| f.source.kind() == std::io::ErrorKind::ResourceBusy), "{error}");
        a_box.group = hierarchies.open_existing(&id).unwrap();
    });
}

#[test]
fn a_box_that_was_removed_and_made_again_is_not_removed_twice() {
    on_each_backend(|hierarchies| {
        let first = Box::create(hierarchies, "again", &limits());
        let id = first.group().id().clone();
        for path in first.group().paths() {
            std::fs::remove_dir(path).unwrap();
        }
        let second = Box::create_as(hierarchies, &id, &limits());
        assert!(matches!(first.group().wait_empty(DEADLINE).unwrap(), Emptied::Removed { .. } | Emptied::Empty { .. }));
        assert!(first.group().members().is_err_and(|error| error.is_gone()));
        let mut first = first;
        first.group.take().unwrap().remove(DEADLINE).unwrap();
        assert!(second.group().paths().iter().all(|path| path.is_dir()), "the second box is untouched");
        second.remove();
    });
}

#[test]
fn the_probe_passes_where_boxes_run_and_leaves_nothing() {
    on_each_backend(|hierarchies| {
        let probes = hierarchies.probe();
        for probe in &probes {
            assert_ne!(probe.verdict, Verdict::Fail, "{probe:?}");
            assert!(probe.verdict == Verdict::Pass || probe.fix.is_some(), "{probe:?}");
        }
        for name in ["cgroup backend", "cgroup limit", "kill", "cgroup removal"] {
            assert!(probes.iter().any(|probe| probe.name == name), "{name}");
        }
    });
}

/// Collects, as fast as it can, whatever is called so and not locked, until it was faster than the maker so often.
fn collect(hierarchies: &Hierarchies, id: &BoxId, times: u32, until: std::time::Instant) -> u32 {
    let mut collected = 0;
    while collected < times && std::time::Instant::now() < until {
        let Ok(Some(mut found)) = hierarchies.open_existing(id) else { continue };
        if matches!(found.lock(), Ok(Lock::Acquired)) && found.remove(DEADLINE).is_ok() {
            collected += 1;
        }
    }
    collected
}

#[test]
fn a_box_comes_to_be_although_somebody_collects_the_dead() {
    const TIMES: u32 = 3;
    on_each_backend(|hierarchies| {
        let id = fresh_id("made-beside-a-collector");
        let until = std::time::Instant::now() + DEADLINE;
        let (made, collected) = std::thread::scope(|scope| {
            let collector = scope.spawn(|| collect(hierarchies, &id, TIMES, until));
            let mut made = 0;
            while !collector.is_finished() {
                let group = hierarchies.create(&id, &limits(), Mode::Strict);
                let removed = group.map(|group| group.remove(DEADLINE));
                assert!(matches!(removed, Ok(Ok(()))), "after {made}: {removed:?}");
                made += 1;
            }
            (made, collector.join().expect("the collector"))
        });
        eprintln!("{}: made {made}, of which {collected} were collected once before", hierarchies.backend());
        // The collector removes nothing that is locked, so each of these was between `mkdir` and `flock`.
        assert_eq!(collected, TIMES, "the race was not lost often enough to prove anything");
    });
}
