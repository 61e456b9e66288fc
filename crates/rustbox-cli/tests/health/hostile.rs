//! Places that are full, cannot be written to, or belong to somebody else; a process that may open next to nothing.
//!
//! What has to be mounted is mounted in a mount namespace of the test's own.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Stdio;

use serde_json::Value;

use crate::sandbox::{Said, Sandbox};

/// Runs a script with `$R` as rustbox and `$S` as the state directory, in a mount namespace of its own.
fn script(sandbox: &Sandbox, text: &str) -> Said {
    let command = sandbox.command();
    let variables = command.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
    let mut shell = std::process::Command::new("unshare");
    shell.args(["--mount", "--propagation", "private", "sh", "-euc", text]).env_clear().envs(variables);
    shell.env("R", command.get_program()).env("S", sandbox.path().join("state"));
    shell.current_dir(sandbox.path()).stdin(Stdio::null()).output().unwrap().into()
}

fn last_json(said: &Said) -> Value {
    let line = said.stdout.trim().lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {said:?}"))
}

// Q07, C14: each threshold on a real host. What leads out is what the refusal names.
#[test]
fn each_shortage_refuses_and_quarantines_until_a_recovery_sees_it_gone() {
    let _host = crate::undisturbed();
    let rows = [
        ("disk", "size=8M", "mount -o remount,size=1G $S", "bytes free on the disk"),
        ("inodes", "size=1G,nr_inodes=64", "mount -o remount,nr_inodes=100000 $S", "inodes free on the disk"),
        ("descriptors", "size=1G", "echo 'min_free_descriptors = 16' > c.toml", "file descriptors free"),
        ("memory", "size=1G", "echo 'min_free_memory = \"1M\"' > c.toml", "bytes of memory available"),
    ];
    for (name, mounted, relief, words) in rows {
        let sandbox = Sandbox::new();
        let config = match name {
            "descriptors" => "min_free_descriptors = 9223372036854775807",
            "memory" => "min_free_memory = \"1000T\"",
            _ => "min_free_disk = \"64M\"",
        };
        sandbox.file("c.toml", config);
        let said = script(
            &sandbox,
            &format!(
                "mkdir -m 700 $S; mount -t tmpfs -o mode=0700,{mounted} none $S; export RUSTBOX_CONFIG=c.toml
                 code=0; $R run -- true || code=$?; test $code = 120
                 $R health | tr -d '\\n'; echo
                 code=0; $R health --recover || code=$?; test $code = 1
                 test \"$($R health | jq -r .quarantine_reason)\" = resource_exhaustion
                 {relief}
                 $R health --recover; $R health --check; $R run -- true"
            ),
        );
        assert_eq!(said.code, Some(0), "{name}: {said:?}");
        let view = last_json(&said);
        assert_eq!(view["quarantine_reason"], "resource_exhaustion", "{name}: {view}");
        assert!(view["quarantine_detail"].as_str().unwrap().contains(words), "{name}: {view}");
        assert!(said.stderr.contains("too little is left"), "{name}: {said:?}");
    }
}

// A disk that is full to the last byte: the quarantine cannot be written, and the run is refused all the same.
#[test]
fn a_full_disk_refuses_runs_although_nothing_can_be_written_down() {
    let _host = crate::undisturbed();
    let sandbox = Sandbox::new();
    let said = script(
        &sandbox,
        "mkdir -m 700 $S; mount -t tmpfs -o mode=0700,size=64k none $S
         $R health --stop-accepting; $R health --start-accepting; before=$(cat $S/health/state.json)
         cat /dev/zero > $S/fill 2>/dev/null || true
         code=0; $R run -- true || code=$?; test $code = 120
         test \"$before\" = \"$(cat $S/health/state.json)\"; test ! -e $S/boxes
         test \"$($R health | jq -r '.status, .can_accept_submissions, .shortage' | tr '\\n' ' ' | cut -c 1-15)\" = 'healthy false 0'
         echo 'min_free_disk = 0' > c.toml; export RUSTBOX_CONFIG=c.toml
         code=0; $R run -- true || code=$?; test $code = 125
         code=0; $R health --quarantine --reason x || code=$?; test $code = 2
         test \"$before\" = \"$(cat $S/health/state.json)\"
         rm $S/fill; $R run -- true; $R health --verify-clean",
    );
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stderr.contains("the worker's state could not be written"), "{said:?}");
    assert!(said.stderr.contains("No space left on device"), "{said:?}");
    assert!(said.stderr.contains("resource_exhaustion since"), "{said:?}");
}

#[test]
fn a_read_only_state_directory_is_named_and_nothing_runs() {
    let _host = crate::undisturbed();
    let sandbox = Sandbox::new();
    let said = script(
        &sandbox,
        "mkdir -m 700 $S; mount -t tmpfs -o mode=0700 none $S
         $R health --stop-accepting; $R health --start-accepting
         mount -o remount,ro $S
         code=0; $R run --json -- true || code=$?; test $code = 125
         code=0; $R health --quarantine --reason x || code=$?; test $code = 2
         $R health --check; mount -o remount,rw $S; $R run -- true",
    );
    assert_eq!(said.code, Some(0), "{said:?}");
    let state = sandbox.path().join("state").display().to_string();
    assert!(said.stderr.contains(&state) && said.stderr.contains("Read-only file system"), "{said:?}");
}

// Boxes of others on this host cost descriptors too, so what works here may fail there: then the shortage is named.
#[test]
fn sixteen_descriptors_are_enough_or_the_shortage_is_named() {
    let _host = crate::undisturbed();
    let sandbox = Sandbox::new();
    let rows = [
        ("health --check", 2),
        ("metrics", 2),
        ("health --recover", 2),
        ("health --verify-clean", 2),
        ("run -- true", 125),
    ];
    for (args, could_not) in rows {
        let said = script(&sandbox, &format!("ulimit -n 16; exec $R {args}"));
        let named = said.code == Some(could_not) && said.stderr.contains("Too many open files");
        assert!(said.code == Some(0) || named, "{args}: {said:?}");
    }
    // Nothing is left of it, and no quarantine came of it.
    let said = script(&sandbox, "$R health --recover; $R health --verify-clean; $R health --check; $R run -- true");
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[test]
fn a_state_directory_that_others_can_reach_is_named_and_left_as_it_is() {
    let _host = crate::undisturbed();
    for case in ["symlink", "world-writable", "somebody else's"] {
        let sandbox = Sandbox::new();
        let state = sandbox.path().join("state");
        match case {
            "symlink" => {
                std::fs::create_dir(sandbox.path().join("elsewhere")).unwrap();
                symlink("elsewhere", &state).unwrap();
            }
            "world-writable" => {
                std::fs::create_dir(&state).unwrap();
                std::fs::set_permissions(&state, PermissionsExt::from_mode(0o777)).unwrap();
            }
            _ => {
                std::fs::create_dir(&state).unwrap();
                std::os::unix::fs::chown(&state, Some(65_534), None).unwrap();
            }
        }
        for (args, code) in [
            (&["run", "--", "true"][..], 125),
            (&["health", "--recover"], 2),
            (&["health", "--quarantine", "--reason", "x"], 2),
            (&["health", "--check"], 2),
        ] {
            let said = sandbox.rustbox(args);
            assert_eq!(said.code, Some(code), "{case}: {args:?}: {said:?}");
            let told = if args.contains(&"--check") { &sandbox.rustbox(["health"]).stdout } else { &said.stderr };
            assert!(told.contains(&state.display().to_string()), "{case}: {args:?}: {said:?}");
        }
        assert_eq!(std::fs::read_dir(&state).unwrap().count(), 0, "{case}: something was made in it");
    }
}

// T03, C08-C10, C04: what is mounted below a dead box is unmounted; what holds it makes the worker fail its baseline.
#[test]
fn a_mount_of_a_dead_box_is_unmounted_and_one_that_is_held_quarantines() {
    let _host = crate::undisturbed();
    let sandbox = Sandbox::new();
    let dead = "$R ps >/dev/null; mkdir -p $S/boxes/dead-one/a; echo torn > $S/boxes/dead-one/lock; mount -t tmpfs none $S/boxes/dead-one/a
         mkdir $S/boxes/dead-one/a/b; mount -t tmpfs none $S/boxes/dead-one/a/b";
    let said = script(
        &sandbox,
        &format!(
            "{dead}; code=0; $R health --verify-clean || code=$?; test $code = 1
             $R health --recover; $R health --verify-clean; $R health --check; echo unmounted
             {dead}; (cd $S/boxes/dead-one/a/b; exec sleep 60) & holder=$!
             until test \"$(readlink /proc/$holder/cwd)\" = $S/boxes/dead-one/a/b; do :; done
             code=0; $R health --recover || code=$?; test $code = 1
             $R health | jq -r '.status, .quarantine_reason, .failed_recovery_count' | tr '\\n' ' '; echo
             code=0; $R run -- true || code=$?; test $code = 120
             kill -0 $holder; kill $holder; wait $holder || true
             $R health --recover; $R health --check; $R run -- true"
        ),
    );
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.contains("unmounted\n"), "{said:?}");
    assert!(said.stdout.contains("quarantined baseline_equivalence_failed 1"), "{said:?}");
    assert!(said.stderr.contains("mount_unmount_failed: "), "{said:?}");
    assert!(said.stderr.contains("baseline_equivalence_failed"), "{said:?}");
}

// What `rustbox prepare` mounts is no leftover; what somebody mounts over it, or beside it, is.
#[test]
fn what_is_prepared_is_no_leftover_and_what_is_mounted_over_it_is() {
    let _host = crate::undisturbed();
    let sandbox = Sandbox::new();
    let said = script(
        &sandbox,
        "export RUSTBOX_RUNTIME_DIR=$PWD/r
         $R prepare; $R run -- true; $R health --verify-clean; $R health --recover; $R health --check; $R run -- true
         test \"$(stat -f -c %T r/prepared/mnt)\" = nsfs; echo kept
         mkdir r/beside; for point in prepared/mnt prepared beside; do
             mount --bind /etc r/$point 2>/dev/null || mount --bind /etc/hostname r/$point
             code=0; $R health --verify-clean || code=$?; test $code = 1
             umount r/$point
         done; rmdir r/beside
         $R health --verify-clean; $R prepare --undo; $R health --verify-clean",
    );
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.contains("kept\n"), "{said:?}");
    for point in ["prepared/mnt", "prepared", "beside"] {
        let named = format!("rustbox: left: mount {}/r/{point}\n", sandbox.path().display());
        assert!(said.stderr.contains(&named), "{point}: {said:?}");
    }
}

// C01, C04, C06, C11, D14: a run whose directory cannot be removed. The third in a row takes the worker out.
#[test]
fn three_cleanups_in_a_row_that_fail_on_a_mount_quarantine() {
    let _host = crate::undisturbed();
    let sandbox = Sandbox::new();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        sandbox.path().join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let said = script(
        &sandbox,
        "for box in one two three; do
             code=0; $R run --box-id $box --json=$box.json --code 'read line' < fifo & run=$!
             exec 3> fifo
             until test -e $S/boxes/$box/marks; do :; done
             mkdir $S/boxes/$box/held; mount -t tmpfs none $S/boxes/$box/held
             echo go >&3; exec 3>&-; wait $run || code=$?; test $code = 125
             jq -r '.status, .cause, .cleanup_failures[0]' $box.json | tr '\\n' ' '; echo
             $R health | jq -r '.status, .failed_cleanup_count' | tr '\\n' ' '; echo
         done
         code=0; $R run -- true || code=$?; test $code = 120
         $R metrics | grep '^rustbox_cleanup_total{outcome=\"failure\"} 3'
         $R health --recover; $R health --check; $R run -- true",
    );
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(said.stdout.matches("IE ie_cleanup_failure mount_unmount_failed: ").count(), 3, "{said:?}");
    for count in ["unhealthy 1", "unhealthy 2", "quarantined 3"] {
        assert!(said.stdout.contains(count), "{count}: {said:?}");
    }
    assert!(said.stderr.contains("cleanup_failure") && said.stderr.contains("worker_quarantined"), "{said:?}");
}

#[test]
fn two_recoveries_and_ten_runs_at_once_all_end_well() {
    let _host = crate::undisturbed();
    let sandbox = Sandbox::new();
    let said = script(
        &sandbox,
        "$R ps >/dev/null; for n in 1 2 3 4 5; do mkdir $S/boxes/dead-$n; echo torn > $S/boxes/dead-$n/lock; done
         pids=; for n in 1 2 3 4 5 6 7 8 9 10; do $R run --quiet -- true & pids=\"$pids $!\"; done
         for n in 1 2; do $R health --recover & pids=\"$pids $!\"; done
         for pid in $pids; do wait $pid; done
         $R health --verify-clean; $R health --check
         $R metrics | grep -E '^rustbox_executions_by_status.*OK|^rustbox_recoveries_total.*success'",
    );
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.contains("{status=\"OK\"} 10\n"), "{said:?}");
    assert!(said.stdout.contains("{outcome=\"success\"} 2\n"), "{said:?}");
}

// C01, C04, C10: the kernel does not let the cgroup go, since its directory is a mount point. It is empty: nothing has escaped,
// the cleanup has failed, and nobody knows whether the host is as before.
#[test]
fn a_cgroup_that_is_held_is_told_and_recovered_when_it_is_let_go() {
    // Elsewhere the mount is not seen, and whoever recovers there takes the cgroup away.
    let _host = crate::disturbed();
    let sandbox = Sandbox::new();
    let said = script(
        &sandbox,
        "mkfifo fifo; root=$($R cgroup-root | head -1); box=held-$$; group=$root/rustbox-$box
         $R run --box-id $box --json=report.json --code 'read line' < fifo & run=$!
         exec 3> fifo
         until test -e $S/boxes/$box/marks; do :; done
         mount --bind $group $group
         echo go >&3; exec 3>&-; code=0; wait $run || code=$?; test $code = 125
         jq -r '.status, .cause, .containment.verdict, .containment.cgroup_removed, .containment.survivors,
             .cleanup_failures[0]' report.json | tr '\\n' ' '; echo
         $R health | jq -c '[.status, .failed_cleanup_count, .recurrence]'
         code=0; $R health --recover || code=$?; if test -e $group; then test $code = 1; else echo taken; fi
         umount $group || true
         $R health --recover; test ! -e $group
         $R health --check; $R run -- true",
    );
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.contains("IE ie_cleanup_failure unknown false 0 cgroup_removal_failed: /"), "{said:?}");
    assert!(said.stdout.contains("[\"unhealthy\",1,0]"), "a failed cleanup, and no violation: {said:?}");
    assert!(said.stderr.contains("cleanup_failure: cgroup_removal_failed: /"), "{said:?}");
    assert!(!said.stderr.contains("containment_violation"), "{said:?}");
    let taken = said.stdout.contains("taken\n");
    assert!(taken || said.stderr.contains("SOMETHING IS LEFT: box held-"), "{said:?}");
}

// D18: systemd names cgroups after units. One that begins like a box's is told from a box by what a box's name may hold.
#[test]
fn a_units_cgroup_is_no_box_whatever_it_is_called() {
    let _host = crate::undisturbed();
    let sandbox = Sandbox::new();
    let said = script(
        &sandbox,
        "sleep 600 & member=$!
         groups=; for root in $($R cgroup-root); do
             group=$root/rustbox-audit-$$.service; mkdir $group; groups=\"$groups $group\"
             echo $member > $group/cgroup.procs 2>/dev/null || true
         done
         code=0; $R health --verify-clean || code=$?; $R health --recover || true; $R cleanup --all || true
         $R ps | grep -c service || true; $R audit --json > audit.json || true
         kill -0 $member; for group in $groups; do test -d $group; done
         grep -c rustbox-audit-$$ audit.json || true
         kill $member; wait $member || true; rmdir $groups",
    );
    assert_eq!(said.code, Some(0), "{said:?}");
    let lines: Vec<&str> = said.stdout.lines().filter(|line| !line.starts_with('{')).collect();
    assert_eq!(lines, ["0", "0"], "neither listed nor found: {said:?}");
    assert!(!said.stderr.contains("audit-"), "{said:?}");
}
