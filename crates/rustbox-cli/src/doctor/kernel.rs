//! What the kernel can do.

use std::io;

use rustbox_core::Ending;
use rustbox_ns::{Process, spawn_helper};
use rustix::event::{Timespec, poll};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use super::{Need, Verdict, kernel_file};

/// The oldest kernel that has everything (`cgroup.kill`).
const OLDEST: &str = "5.14";
/// How long the helper stays when nobody kills it: a probe that fails leaves nothing for longer than this.
const HELPER_STAYS: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
const SIGKILL: i32 = 9;
/// What a helper exits with when the call under test failed with an errno that fits no exit code.
const ODD_ERRNO: i32 = 255;
const UPGRADE: &str = "use Linux 5.14 or later, and a container runtime whose seccomp profile allows the call";

pub(super) fn kernel() -> Vec<Need> {
    vec![
        release(),
        clone_and_pidfd(),
        mount_api(),
        seccomp("errno", Verdict::Fail, "for the default filter"),
        seccomp("user_notif", Verdict::Limited, "for the name of the call with --seccomp kill"),
        audit_session(),
        keyrings(),
        user_namespaces(),
        unprivileged("kernel.unprivileged_userns_clone", "/proc/sys/kernel/unprivileged_userns_clone"),
        unprivileged(
            "kernel.apparmor_restrict_unprivileged_userns",
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        ),
    ]
}

/// Shown and not judged: what the kernel can do is tried below.
fn release() -> Need {
    let uname = rustix::system::uname();
    let required = format!("{OLDEST} or later; what counts is what can be done");
    Need::new("kernel", Verdict::Info, uname.release().to_string_lossy(), &required)
}

/// Clones a child with a pidfd, kills it through the pidfd and waits for it through the pidfd.
fn clone_and_pidfd() -> Need {
    const NAME: &str = "clone3 and pidfd";
    const REQUIRED: &str = "clone3, pidfd_send_signal, waitid(P_PIDFD)";
    let killed = spawn_helper(c"rustbox-probe", &[], || {
        let _ = poll(&mut [], Some(&HELPER_STAYS));
        0
    })
    .and_then(|helper| helper.kill().and_then(|()| Process::wait(helper)));
    match killed {
        Ok(Ending::Signaled(SIGKILL)) => {
            Need::new(NAME, Verdict::Pass, "cloned, killed and reaped a child by pidfd", REQUIRED)
        }
        Ok(other) => {
            Need::new(NAME, Verdict::Fail, format!("a killed child ended as {other:?}"), REQUIRED).fix(UPGRADE)
        }
        Err(e) => Need::new(NAME, Verdict::Fail, crate::error::chain(&e), REQUIRED).fix(UPGRADE),
    }
}

/// Makes a tmpfs that is attached nowhere and vanishes with its descriptor.
fn mount_api() -> Need {
    const NAME: &str = "mount by descriptor";
    const REQUIRED: &str = "fsopen, fsconfig, fsmount (Linux 5.2)";
    let made = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).and_then(|fs| {
        fsconfig_create(&fs)?;
        fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
    });
    match made {
        Ok(_detached) => Need::new(NAME, Verdict::Pass, "made a detached tmpfs", REQUIRED),
        Err(errno) => {
            let fix = if errno == rustix::io::Errno::NOSYS { UPGRADE } else { "run as root, with CAP_SYS_ADMIN" };
            Need::new(NAME, Verdict::Fail, io::Error::from(errno).to_string(), REQUIRED).fix(fix)
        }
    }
}

fn seccomp(action: &str, without: Verdict, purpose: &str) -> Need {
    let name = format!("seccomp {action}");
    match kernel_file("/proc/sys/kernel/seccomp/actions_avail") {
        Ok(Some(list)) if list.split_whitespace().any(|word| word == action) => {
            Need::new(&name, Verdict::Pass, "available", purpose)
        }
        Ok(list) => Need::new(&name, without, list.unwrap_or_else(|| "no seccomp".to_owned()), purpose)
            .fix("use a kernel with CONFIG_SECCOMP_FILTER (user_notif: Linux 5.0)"),
        Err(e) => Need::new(&name, Verdict::Unknown, e.to_string(), purpose),
    }
}

/// A child gives itself an audit session, as the init of a box does.
fn audit_session() -> Need {
    const NAME: &str = "audit session";
    const REQUIRED: &str = "a session id of its own for each box: one of the marks that an audit goes by";
    let limited = |found: String| {
        Need::new(NAME, Verdict::Limited, found, REQUIRED)
            .fix("use a kernel with CONFIG_AUDITSYSCALL, and run with CAP_AUDIT_CONTROL")
    };
    let ended = spawn_helper(c"rustbox-probe", &[], || match write_loginuid() {
        Ok(()) => 0,
        Err(errno) => u8::try_from(errno.raw_os_error()).map_or(ODD_ERRNO, i32::from),
    })
    .and_then(Process::wait);
    match ended {
        Ok(Ending::Exited(0)) => Need::new(NAME, Verdict::Pass, "a child got one", REQUIRED),
        Ok(Ending::Exited(errno)) => limited(format!("loginuid: {}", io::Error::from_raw_os_error(errno))),
        Ok(Ending::Signaled(signal)) => limited(format!("the child was killed by signal {signal}")),
        Err(e) => Need::new(NAME, Verdict::Unknown, crate::error::chain(&e), REQUIRED),
    }
}

/// Runs in a child between clone and exit: two system calls and no allocation.
fn write_loginuid() -> rustix::io::Result<()> {
    use rustix::fs::{Mode, OFlags, open};
    let file = open(c"/proc/self/loginuid", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, b"0").map(drop)
}

fn keyrings() -> Need {
    const NAME: &str = "keyrings";
    const USE: &str = "a session keyring of its own for each box";
    match kernel_file("/proc/key-users") {
        Ok(Some(_)) => Need::new(NAME, Verdict::Info, "the kernel has them", USE),
        Ok(None) => Need::new(NAME, Verdict::Info, "the kernel has none: there is nothing to share", USE),
        Err(e) => Need::new(NAME, Verdict::Unknown, e.to_string(), USE),
    }
}

/// Writable binds are id-mapped, which takes a user namespace.
fn user_namespaces() -> Need {
    const NAME: &str = "user namespaces";
    const REQUIRED: &str = "one for each box with a --bind (user.max_user_namespaces)";
    match kernel_file("/proc/sys/user/max_user_namespaces") {
        Ok(Some(max)) if max == "0" => {
            Need::new(NAME, Verdict::Limited, "0 allowed", REQUIRED).fix("sysctl -w user.max_user_namespaces=15000")
        }
        Ok(Some(max)) => Need::new(NAME, Verdict::Pass, format!("{max} allowed"), REQUIRED),
        Ok(None) => {
            Need::new(NAME, Verdict::Limited, "not in this kernel", REQUIRED).fix("use a kernel with CONFIG_USER_NS")
        }
        Err(e) => Need::new(NAME, Verdict::Unknown, e.to_string(), REQUIRED),
    }
}

/// Sysctls that matter to users without rights only, for whom rustbox makes no boxes.
fn unprivileged(name: &str, path: &str) -> Need {
    const USE: &str = "nothing: rustbox runs as root";
    match kernel_file(path) {
        Ok(Some(value)) => Need::new(name, Verdict::Info, value, USE),
        Ok(None) => Need::new(name, Verdict::Info, "not in this kernel", USE),
        Err(e) => Need::new(name, Verdict::Info, e.to_string(), USE),
    }
}
