//! What a system call is about to work on, read from the stopped caller.

use std::os::unix::fs::FileExt;

use nix::unistd::Pid;

use super::boundary::Call;

/// Longest path that is shown.
const SHOWN: usize = 200;

/// Where a call has its operand.
enum Operand {
    Path(usize),
    Descriptor(usize),
    Number(usize),
    None,
}

/// The operand of a call, as a person would write it; empty where there is none worth a word.
pub(super) fn operand(pid: Pid, call: Call, arguments: [u64; 6]) -> String {
    let which = match call.name().as_str() {
        "open" | "readlink" | "umount2" | "chdir" | "chroot" | "mkdir" | "rmdir" | "unlink" | "stat" | "lstat"
        | "statfs" | "execve" | "pivot_root" | "sethostname" => Operand::Path(0),
        "openat" | "openat2" | "mkdirat" | "unlinkat" | "newfstatat" | "statx" | "faccessat" | "faccessat2"
        | "readlinkat" | "renameat" | "renameat2" | "mount" | "open_tree" | "symlinkat" | "mknodat" | "fchownat"
        | "fsopen" => Operand::Path(1),
        "read" | "write" | "pread64" | "pwrite64" | "fstat" | "fcntl" | "flock" | "fsync" | "close" | "getdents64"
        | "ftruncate" | "fchdir" | "sendmsg" | "recvmsg" | "ioctl" | "fchown" | "fchmod" | "move_mount" => {
            Operand::Descriptor(0)
        }
        "waitid" | "pidfd_send_signal" => Operand::Descriptor(usize::from(call.name() == "waitid")),
        "prctl" | "seccomp" | "unshare" | "setresuid" | "setresgid" | "keyctl" | "prlimit64" | "rt_sigaction" => {
            Operand::Number(usize::from(call.name() == "prlimit64"))
        }
        _ => Operand::None,
    };
    match which {
        Operand::Path(at) => text_at(pid, arguments[at]),
        Operand::Descriptor(at) => descriptor(pid, arguments[at]),
        Operand::Number(at) => arguments[at].to_string(),
        Operand::None => String::new(),
    }
}

fn descriptor(pid: Pid, number: u64) -> String {
    let link = std::fs::read_link(format!("/proc/{pid}/fd/{number}"));
    link.map_or_else(|_| format!("fd {number}"), |path| path.display().to_string())
}

fn text_at(pid: Pid, address: u64) -> String {
    let mut bytes = [0; SHOWN];
    let memory = std::fs::File::open(format!("/proc/{pid}/mem"));
    let mut length = memory.as_ref().map_or(0, |memory| memory.read_at(&mut bytes, address).unwrap_or(0));
    if length == 0 {
        // The text may end just before a page that is not there.
        let to_the_end = usize::try_from(4096 - address % 4096).unwrap_or(SHOWN).min(SHOWN);
        length = memory.map_or(0, |memory| memory.read_at(&mut bytes[..to_the_end], address).unwrap_or(0));
    }
    let text = &bytes[..length];
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(length);
    String::from_utf8_lossy(&text[..end]).into_owned()
}
