//! What holds from the making of a box's cgroups to their removal.

use crate::common::{Box, DEADLINE, assert_empty, fresh_id, limits, on_each_backend};
use rustbox_cgroup::{BoxCgroup, Error, KillMethod};
use rustbox_core::CgroupBackend;

#[test]
fn limits_are_confirmed_by_the_kernel() {
    on_each_backend(|hierarchies| {
        let mut asked = limits();
        asked.cpus = hierarchies.controllers().contains(&"cpu").then(|| "0.5".parse().unwrap());
        asked.cpuset = hierarchies.controllers().contains(&"cpuset").then(|| "0".parse().unwrap());
        let a_box = Box::create(hierarchies, "limits", &asked);
        for applied in a_box.group().applied() {
            if applied.control != "cpu_accounting" {
                let in_file = std::fs::read_to_string(&applied.source).expect("a file that exists");
                assert_eq!(in_file.trim_end(), applied.read_back, "{applied:?}");
            }
        }
        let value =
            |name: &str| a_box.group().applied().iter().find(|a| a.control == name).map(|a| a.read_back.clone());
        assert_eq!(value("memory").as_deref(), Some("67108864"));
        assert_eq!(value("pids").as_deref(), Some("61"));
        assert!(value("cpu_accounting").is_some());
        assert_eq!(value("cpuset").is_some(), asked.cpuset.is_some());
        assert_eq!(value("cpus").is_some(), asked.cpus.is_some());
        a_box.remove();
    });
}

#[test]
fn the_plan_names_what_create_makes() {
    on_each_backend(|hierarchies| {
        let id = fresh_id("plan");
        let plan = BoxCgroup::plan_paths(hierarchies, &id, &limits());
        let a_box = Box::create_as(hierarchies, &id, &limits());
        assert_eq!(plan, a_box.group().paths());
        assert_eq!(plan[0].parent(), hierarchies.roots().first().map(std::path::PathBuf::as_path));
        a_box.remove();
    });
}

#[test]
fn a_member_is_told_from_a_stranger() {
    on_each_backend(|hierarchies| {
        let mut a_box = Box::create(hierarchies, "member", &limits());
        let pid = a_box.run("exec sleep 1000");
        a_box.group().verify_member(pid).expect("a member");
        assert_eq!(a_box.group().members().unwrap(), [pid]);
        let stranger = a_box.group().verify_member(std::process::id());
        assert!(matches!(stranger, Err(Error::NotMember { .. })), "{stranger:?}");
    });
}

#[test]
fn a_member_of_one_hierarchy_only_is_no_member() {
    on_each_backend(|hierarchies| {
        let mut a_box = Box::create(hierarchies, "half", &limits());
        let paths = a_box.group().paths();
        if let [_, .., last] = paths.as_slice() {
            let pid = a_box.run("exec sleep 1000");
            std::fs::write(last.with_file_name("cgroup.procs"), pid.to_string()).unwrap();
            let half = a_box.group().verify_member(pid);
            assert!(matches!(&half, Err(Error::NotMember { path, .. }) if path == last), "{half:?}");
        }
    });
}

#[test]
fn fifty_sleepers_are_killed_and_nothing_is_left() {
    on_each_backend(|hierarchies| {
        let mut a_box = Box::create(hierarchies, "fifty", &limits());
        a_box.run("i=0; while [ $i -lt 50 ]; do sleep 1000 & i=$((i+1)); done; wait");
        let procs = a_box.group().paths()[0].join("cgroup.procs");
        crate::common::wait_until("51 members", &procs, |text| text.lines().count() == 51);
        assert_eq!(a_box.group().pids_current(), Some(51));
        let method = a_box.group().kill().unwrap();
        assert_eq!(method == KillMethod::CgroupKill, hierarchies.backend() != CgroupBackend::V1, "{method:?}");
        assert_empty(a_box.group().wait_empty(DEADLINE).unwrap());
        assert!(a_box.group().members().unwrap().is_empty());
        a_box.remove();
    });
}
