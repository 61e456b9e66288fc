//! The barriers of a box, one attack each: descriptors, /proc, cgroups, namespaces, mounts, devices, init,
//! setuid bits, keyrings, the terminal, shared objects, the network.
//!
//! The payload tells each attempt with its errno, so that the cause is asserted and not only the failure. The
//! control is the same payload where that one barrier is missing: there it must escape.

use std::process::{Command, Stdio};
use std::time::Duration;

use rustbox_tests::{Canary, Lab, Pen, attack_that_stays, attack_that_tells, payload, skip_unless};

#[test]
fn no_descriptor_leaks_into_the_box() {
    let lab = Lab::open("fds");
    // Rustbox itself inherits descriptors that are not close-on-exec, as from a careless caller.
    let careless = ["/bin/sh", "-c", "exec 5</ 6</proc 7</sys/fs/cgroup 8</etc/passwd; exec \"$@\"", "sh"];
    let ended = lab.a_box().attack("contain_leaked_fds", &[]).wrapped(careless).finish();
    ended.assert_contained().assert_verdict("OK", "normal_exit", 0);
    for fd in ["open: 0 ", "open: 1 ", "open: 2 "] {
        ended.assert_said(fd);
    }
    let passed = |fd| lab.a_box().attack("contain_leaked_fds", &[]).flags(["--pass-fd", fd]).wrapped(careless).finish();
    let control = passed("8");
    control.assert_contained().assert_verdict("RE", "re_nonzero_exit", 90).assert_said("open: 8 ");
    assert!(!control.stdout.contains("open: 5 "), "{control}");
    // A directory of the host is a way out (runc CVE-2024-21626): not even by name.
    let directory = passed("5");
    assert_eq!(directory.code(), Some(125), "{directory}");
    assert!(directory.left().is_empty() && directory.stderr.contains("directory"), "{directory}");
}

#[test]
fn no_process_of_the_host_is_visible() {
    // S11.
    let lab = Lab::open("visibility");
    attack_that_tells(&lab, "contain_proc_visibility", &[], &[]);
    Pen::of("contain_proc_visibility", &[]).run().assert_escaped();
}

#[test]
fn the_runtime_cannot_be_overwritten_through_proc_exe() {
    // runc CVE-2019-5736.
    let lab = Lab::open("exe");
    let before = std::fs::read(rustbox_tests::rustbox()).expect("read rustbox");
    attack_that_tells(&lab, "contain_exe_write", &["1"], &[]);
    assert!(std::fs::read(rustbox_tests::rustbox()).expect("read rustbox") == before, "rustbox was overwritten");
    let canary = Canary::start("no-box");
    let pid = canary.pid().to_string();
    Pen::of("contain_exe_write", &[&pid]).as_root().run().assert_escaped();
}

#[test]
fn no_cgroup_file_can_be_written() {
    // D2, D24.
    let lab = Lab::open("cgroup");
    attack_that_tells(&lab, "contain_cgroup_write", &[], &[]).assert_said("found: 0 files");
    Pen::of("contain_cgroup_write", &[]).as_root().run().assert_escaped();
}

#[test]
fn nested_namespaces_are_denied_and_without_the_filter_die_with_the_box() {
    // S65, S66.
    let lab = Lab::open("nested");
    let ended = attack_that_tells(&lab, "contain_nested_ns", &[], &[]);
    for line in ["unshare(CLONE_NEWUSER) = EPERM", "clone(CLONE_NEWUSER) = EPERM", "clone3(CLONE_NEWUSER) = ENOSYS"] {
        ended.assert_said(line);
    }
    let unfiltered = ["--permissive", "--seccomp", "off"];
    let control = lab.a_box().attack("contain_nested_ns", &[]).flags(unfiltered).finish();
    control.assert_contained().assert_said("unshare(CLONE_NEWUSER) = OK");
    attack_that_stays(&lab, "contain_nested_ns", &["leave", "nest"], &unfiltered);
}

#[test]
fn nothing_can_be_mounted() {
    let lab = Lab::open("mount");
    let ended = attack_that_tells(&lab, "contain_mount", &[], &[]);
    for call in ["mount(tmpfs)", "fsopen(tmpfs)", "open_tree(clone)", "umount2(/proc)", "pivot_root", "chroot"] {
        ended.assert_said(&format!("{call} = EPERM"));
    }
    // With the filter off the credentials alone must hold.
    attack_that_tells(&lab, "contain_mount", &[], &["--permissive", "--seccomp", "off"]);
    Pen::of("contain_mount", &[]).as_root().run().assert_escaped();
}

#[test]
fn no_device_can_be_made_or_opened() {
    let lab = Lab::open("mknod");
    attack_that_tells(&lab, "contain_mknod", &[], &[]).assert_said("mknod(c 1:1) = EPERM");
    attack_that_tells(&lab, "contain_mknod", &[], &["--permissive", "--seccomp", "off"]);
    Pen::of("contain_mknod", &[]).as_root().run().assert_escaped();
}

#[test]
fn init_cannot_be_traced_or_read() {
    let lab = Lab::open("ptrace-init");
    let ended = attack_that_tells(&lab, "contain_ptrace_init", &[], &[]);
    ended.assert_said("ptrace(PTRACE_SEIZE) = EPERM").assert_said("process_vm_readv = EPERM");
    attack_that_tells(&lab, "contain_ptrace_init", &[], &["--permissive", "--seccomp", "off"]);
    let canary = Canary::start("no-box");
    Pen::of("contain_ptrace_init", &[&canary.pid().to_string()]).as_root().run().assert_escaped();
}

#[test]
fn setuid_bits_do_nothing() {
    // QS03.
    let lab = Lab::open("setuid");
    let copy = lab.path().join("setuid-copy");
    std::fs::copy(payload("contain_setuid_bits"), &copy).expect("copy");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o6755);
    std::fs::set_permissions(&copy, mode).expect("chmod");
    let bind = format!("{}:/setuid-copy", copy.display());
    attack_that_tells(&lab, "contain_setuid_bits", &["/setuid-copy"], &["--ro-bind", &bind]);
    let open: std::fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(lab.path(), open).expect("chmod");
    Pen::of("contain_setuid_bits", &[&copy.display().to_string()]).run().assert_escaped();
}

#[test]
fn no_keyring_can_be_reached() {
    let lab = Lab::open("keyctl");
    let ended = attack_that_tells(&lab, "contain_keyctl", &[], &[]);
    ended.assert_said("add_key(process keyring) = EPERM").assert_said("request_key = EPERM");
    let control = lab.a_box().attack("contain_keyctl", &[]).flags(["--permissive", "--seccomp", "off"]).finish();
    control.assert_contained().assert_said("add_key(process keyring) = OK");
}

#[test]
fn nothing_can_be_typed_into_the_callers_terminal() {
    let there = if std::path::Path::new("/usr/bin/script").exists() { Ok(()) } else { Err("no script(1)".to_owned()) };
    if !skip_unless("tiocsti", there) {
        return;
    }
    let lab = Lab::open("tiocsti");
    let on_a_terminal = |flags: &[&str]| {
        let command = lab.a_box().attack("contain_tiocsti", &[]).flags(flags);
        let words: Vec<_> = command.words().iter().map(|w| format!("'{}'", w.display())).collect();
        let script = ["script", "--quiet", "--return", "--command", &words.join(" "), "/dev/null"];
        let output = Command::new(script[0]).args(&script[1..]).stdin(Stdio::null()).output().expect("script");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let said = on_a_terminal(&[]);
    for call in ["TIOCSTI", "TIOCSTI with high bits", "TIOCLINUX", "TIOCLINUX with high bits"] {
        assert!(said.contains(&format!("ioctl({call}) = EPERM")), "{said}");
    }
    assert!(said.contains("contain_tiocsti: contained"), "{said}");
    assert!(!said.contains("XX"), "something was typed into the terminal: {said}");
    // Without the filter the kernel's own answer is another one (EIO, ENOTTY, or success on old kernels).
    let control = on_a_terminal(&["--permissive", "--seccomp", "off"]);
    assert!(!control.contains("ioctl(TIOCLINUX) = EPERM"), "{control}");
}

#[test]
fn two_boxes_share_no_object() {
    let lab = Lab::open("shared-ipc");
    let mut first = lab.a_box().attack("contain_shared_ipc", &["plant"]).stdin(Stdio::piped()).start();
    first.await_output("armed:");
    assert!(first.stdout().contains("planted: shm 1 sem 1 msg 1"), "{}", first.stdout());
    attack_that_tells(&lab, "contain_shared_ipc", &["look"], &[]).assert_said("shmget = ENOENT");
    drop(first.take_stdin());
    first.finish().assert_contained().assert_verdict("OK", "normal_exit", 0);
    let (read, write) = std::io::pipe().expect("pipe");
    let planter = std::thread::spawn(move || Pen::of("contain_shared_ipc", &["plant"]).stdin(read.into()).run());
    let found = rustbox_tests::wait_until(Duration::from_secs(8), || {
        let look = Pen::of("contain_shared_ipc", &["look"]).run();
        (look.stdout.contains("shmget = OK") && look.stdout.contains("connect(abstract socket) = OK")).then_some(())
    });
    drop(write);
    let planted = planter.join().expect("the planter");
    assert!(found.is_some(), "two pens do not share either: {planted:?}");
}

#[test]
fn the_hosts_network_is_out_of_reach() {
    let lab = Lab::open("network");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("listen");
    let port = listener.local_addr().expect("address").port().to_string();
    let name = format!("containment-test-{}", std::process::id());
    let address = <std::os::unix::net::SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(&name);
    let _socket = std::os::unix::net::UnixListener::bind_addr(&address.expect("name")).expect("bind");
    let args = [port.as_str(), name.as_str()];
    let ended = attack_that_tells(&lab, "contain_network", &args, &[]);
    ended.assert_said("connect(127.0.0.1) = ECONNREFUSED").assert_said("connect(192.0.2.1) = ENETUNREACH");
    let control = lab.a_box().attack("contain_network", &args).flags(["--permissive", "--net", "host"]).finish();
    control.assert_contained().assert_said("connect(127.0.0.1) = OK");
    Pen::of("contain_network", &args).run().assert_escaped();
}
