//! Which errors a system call can fail with: what the kernel documents, by call and by what it works on.

use nix::errno::Errno;

use crate::driver::{Fault, How, Recorded, Role};
use crate::sweep::full;

/// Calls that are not failed: those that cannot fail, and `close`, which frees the descriptor whatever it returns.
const NEVER_FAIL: &[&str] = &[
    "close",
    "exit",
    "exit_group",
    "getpid",
    "gettid",
    "getuid",
    "getgid",
    "geteuid",
    "getegid",
    "uname",
    "umask",
    "clock_gettime",
    "rt_sigreturn",
    "set_tid_address",
    "set_robust_list",
    "rseq",
    "arch_prctl",
    "getppid",
];

/// Calls of the language's runtime, before and below our code, whose failure it turns into an abort.
const OF_THE_RUNTIME: &[&str] =
    &["mmap", "mprotect", "munmap", "brk", "mremap", "rt_sigaction", "rt_sigprocmask", "sigaltstack", "prlimit64"];

/// Errors of this call, the likeliest first; none for one that is left alone.
fn errors_of(call: &Recorded) -> Vec<i32> {
    let name = call.boundary.call.name();
    let name = name.as_str();
    if NEVER_FAIL.contains(&name) {
        return Vec::new();
    }
    // A copy of the supervisor that is to become init or payload does these on its own account.
    if OF_THE_RUNTIME.contains(&name) && matches!(call.boundary.role, Role::Supervisor | Role::Keeper) {
        return Vec::new();
    }
    // What the host does not have is not bound into a box, which is another box then and no weaker one.
    let is_of_the_host = ["/etc", "/usr"].contains(&call.operand.as_str());
    let errors = by_name(name, &call.operand).iter().filter(|errno| !(is_of_the_host && **errno == Errno::ENOENT));
    errors.map(|errno| *errno as i32).collect()
}

/// Without two that are answers and no failures, for a call that fails from now on.
///
/// One that is interrupted is made again, by us and by the language's library: interrupted for ever it does not return. And
/// "there is none" is what somebody who looks wants to know: told for ever, there is nobody who could know better.
fn lasting_errors_of(call: &Recorded) -> Vec<i32> {
    let answers = [Errno::EINTR as i32, Errno::ENOENT as i32];
    errors_of(call).into_iter().filter(|errno| !answers.contains(errno)).collect()
}

/// The failures that are to be made of a call; the likeliest one only unless [everything](full) is tried.
#[must_use]
pub fn failures_of(call: &Recorded, how: How) -> Vec<Fault> {
    let most = if full() { usize::MAX } else { 1 };
    let errors = if how == How::ForEver { lasting_errors_of(call) } else { errors_of(call) };
    errors.into_iter().take(most).map(|errno| Fault::Fail(errno, how)).collect()
}

fn by_name(name: &str, operand: &str) -> &'static [Errno] {
    use Errno::{
        E2BIG, EACCES, EAGAIN, EBUSY, ECHILD, ECONNRESET, EDQUOT, EEXIST, EINTR, EINVAL, EIO, ELOOP, EMFILE, ENFILE,
        ENOBUFS, ENODEV, ENOENT, ENOLCK, ENOMEM, ENOSPC, ENOSYS, ENOTEMPTY, EOPNOTSUPP, EPERM, EPIPE, EROFS, ESRCH,
        ETXTBSY,
    };
    let cgroup = operand.starts_with("/sys/fs/cgroup") || operand.contains("cgroup.") || operand.contains("rustbox-");
    let proc = operand.starts_with("/proc");
    match name {
        "clone3" | "clone" | "fork" | "vfork" => {
            &[EAGAIN, ENOMEM, ENOSYS, EPERM, EINVAL, ENOSPC, ENOENT, EBUSY, EMFILE]
        }
        "open" | "openat" | "openat2" if proc => &[EMFILE, ESRCH, ENOENT, EACCES, EIO],
        "open" | "openat" | "openat2" if cgroup => &[ENOENT, ENODEV, EACCES, EBUSY, EINVAL, EROFS, EMFILE],
        "open" | "openat" | "openat2" | "open_tree" => &[EMFILE, ENFILE, ENOMEM, EACCES, EIO, ENOSPC],
        "write" | "pwrite64" if operand.ends_with("cgroup.kill") => &[EIO, ENOENT, ENODEV, EOPNOTSUPP, EINTR],
        "write" | "pwrite64" if cgroup => &[EBUSY, ENOENT, ENODEV, EACCES, EOPNOTSUPP, EINVAL, EROFS],
        "write" | "sendmsg" if operand.starts_with("socket:") => &[ENOBUFS, EPIPE, EINTR],
        "write" | "pwrite64" | "fsync" | "fdatasync" | "renameat" | "renameat2" | "ftruncate" => {
            &[ENOSPC, EDQUOT, EIO, EROFS, EINTR]
        }
        "flock" => &[ENOLCK, EINTR, EIO],
        "mkdir" | "mkdirat" => &[EAGAIN, ENOMEM, EEXIST, EACCES, EROFS, ENOSPC],
        "unlinkat" | "rmdir" | "unlink" => &[EBUSY, ENOTEMPTY, ENOENT, EACCES, EIO],
        "mount" | "umount2" | "pivot_root" | "move_mount" | "mount_setattr" | "fsopen" | "fsconfig" | "fsmount"
        | "symlinkat" | "mknodat" => &[EPERM, EBUSY, EINVAL, ENOMEM, ENOSPC],
        "prctl" | "seccomp" | "setresuid" | "setresgid" | "setgroups" | "capset" | "unshare" | "keyctl" | "setsid"
        | "rt_sigaction" | "rt_sigprocmask" | "prlimit64" | "sethostname" | "fcntl" | "close_range" => {
            &[EPERM, EINVAL, EAGAIN, ENOMEM]
        }
        "execve" | "execveat" => &[ENOENT, EACCES, ETXTBSY, ENOMEM, E2BIG, ELOOP],
        "waitid" | "wait4" => &[ECHILD, EINTR, EAGAIN],
        // The runtime's poll of the standard streams, and ours.
        "poll" | "ppoll" => &[ENOMEM, EINTR],
        "pidfd_open" => &[EMFILE, ESRCH, EPERM],
        "pidfd_send_signal" => &[EPERM, ESRCH, EAGAIN],
        "read" | "pread64" | "getdents64" | "readlink" | "readlinkat" | "statx" | "newfstatat" | "fstat" | "statfs"
        | "fstatfs" | "faccessat" | "faccessat2" => &[EIO, ESRCH, ENOENT, EACCES, EINTR],
        "recvmsg" => &[ENOMEM, ECONNRESET, EINTR],
        "pipe2" | "socketpair" | "socket" | "eventfd2" | "signalfd4" | "timerfd_create" | "epoll_create1" | "dup"
        | "dup2" | "dup3" => &[EMFILE, ENFILE, ENOMEM],
        "getrandom" => &[EAGAIN, EINTR],
        _ => &[EPERM],
    }
}

/// Whether a lie of success about this call would take a barrier, a limit or a guard away, if nobody looked.
#[must_use]
pub fn is_security_relevant(call: &Recorded) -> bool {
    let name = call.boundary.call.name();
    match name.as_str() {
        // What the caller is given is no barrier.
        "renameat" if call.operand.ends_with(".tmp") => false,
        "write" | "pwrite64" if call.operand.ends_with(".tmp") => false,
        "write" | "pwrite64" => !call.operand.starts_with("socket:") && !call.operand.starts_with("pipe:"),
        "mkdirat" | "mkdir" | "mount" | "umount2" | "pivot_root" | "move_mount" | "mount_setattr" | "fsconfig"
        | "prctl" | "seccomp" | "setresuid" | "setresgid" | "setgroups" | "capset" | "unshare" | "setns" | "keyctl"
        | "setsid" | "rt_sigaction" | "rt_sigprocmask" | "prlimit64" | "sethostname" | "fcntl" | "close_range"
        | "fchdir" | "chdir" | "chroot" | "umask" | "flock" | "renameat" | "renameat2" | "unlinkat" | "ftruncate"
        | "symlinkat" | "mknodat" | "pidfd_send_signal" | "setsockopt" | "ioctl" | "dup2" | "dup3" | "fchown"
        | "fchmod" => !(OF_THE_RUNTIME.contains(&name.as_str()) && call.boundary.role == Role::Supervisor),
        _ => false,
    }
}
