//! What a box may not ask of the kernel, and why.
//!
//! A call that the kernel's table knows and that no rule names is allowed; a number beyond the
//! table answers `ENOSYS`. A list of allowed calls would be as safe against new calls and would
//! break a program for every old call that its author had not thought of; a bare list of denied
//! ones would open every call that a newer kernel brings.

use super::rule::{Answer, Case, Condition, Errno, OnKill, Rule};

use Condition::{Is, IsNot, Masked, MaskedLong};

/// Denied, and no ordinary program asks for it.
const EPERM: Answer = Answer::Deny(Errno::Eperm, OnKill::EndsRun);
/// Denied, but tools ask for it without need.
const EPERM_ONLY: Answer = Answer::Deny(Errno::Eperm, OnKill::SameError);
/// Denied, and the caller has another way.
const ENOSYS: Answer = Answer::Deny(Errno::Enosys, OnKill::SameError);

/// A number that the table does not have. New C libraries try new calls first.
pub const UNKNOWN_CALL: Answer = ENOSYS;

/// A call through another ABI of the processor: i386 by `int 0x80` and x32 on x86_64, ARM on
/// aarch64. The rules name native numbers and native arguments, so nothing of these is let through.
///
/// An error and not `SECCOMP_RET_KILL_PROCESS`: a denied call is no verdict, and a death by SIGSYS
/// in a report then always means that the payload sent itself that signal.
pub const FOREIGN_ABI: Answer = Answer::Deny(Errno::Enosys, OnKill::EndsRun);

/// `CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET` (`linux/sched.h`).
///
/// `CLONE_NEWTIME` is 0x80: for clone(2) the low byte is the exit signal, so the flag cannot be given.
const NEW_NAMESPACES: u32 =
    0x0002_0000 | 0x0200_0000 | 0x0400_0000 | 0x0800_0000 | 0x1000_0000 | 0x2000_0000 | 0x4000_0000;

/// Everything but `CLONE_VM | FS | FILES | SIGHAND | THREAD | SYSVSEM`: what unshare(2) takes and
/// what makes no namespace.
const UNSHARE_BEYOND_SHARING: u64 = !(0x0100 | 0x0200 | 0x0400 | 0x0800 | 0x0001_0000 | 0x0004_0000);

/// Set-user-id or set-group-id.
const SET_ID: u32 = 0o6000;
/// `O_CREAT`, and the bit of `O_TMPFILE` that is its own: without either open(2) ignores the mode.
const CREATES: u32 = 0o100 | 0o20_000_000;

/// Everything but `PER_LINUX32`, `UNAME26` (both change what uname(2) says) and
/// `ADDR_NO_RANDOMIZE` (debuggers and thread sanitizers set it for themselves).
const PERSONALITY_BEYOND_HARMLESS: u32 = !(0x0008 | 0x0002_0000 | 0x0004_0000);

const AF_UNIX: u32 = 1;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const AF_NETLINK: u32 = 16;

const MOUNTS: &str = "A box cannot change what it sees; in a user namespace of its own these calls reach \
                      file system code that is otherwise root's.";
const NAMESPACES: &str = "A user namespace gives capabilities over kernel code that expects root \
                          (CVE-2022-0185, CVE-2022-0492, CVE-2023-0386, CVE-2024-1086).";
const SET_ID_FILES: &str = "A file that a box leaves in a writable bind belongs to the caller on the host: it must not \
                            become a program that runs as the caller.";
const SET_ID_TEXT: &str = "the mode has S_ISUID or S_ISGID";

/// `chmod` and its like: the mode is all that decides.
const fn no_set_id(calls: &'static [&'static str], cases: &'static [Case]) -> Rule {
    Rule { calls, cases, otherwise: EPERM, otherwise_text: SET_ID_TEXT, reason: SET_ID_FILES }
}

const fn plain_mode(when: &'static [Condition]) -> Case {
    Case { when, text: "the mode has neither S_ISUID nor S_ISGID", then: Answer::Allow }
}

const fn creates_nothing(when: &'static [Condition]) -> Case {
    Case { when, text: "no file is created", then: Answer::Allow }
}

/// The policy. One call is named once.
pub const RULES: &[Rule] = &[
    Rule::always(
        &[
            "mount",
            "umount2",
            "pivot_root",
            "chroot",
            "fsopen",
            "fsconfig",
            "fsmount",
            "fspick",
            "open_tree",
            "open_tree_attr",
            "move_mount",
            "mount_setattr",
        ],
        EPERM,
        MOUNTS,
    ),
    Rule::always(
        &["statmount", "listmount"],
        ENOSYS,
        "They describe mounts by number; what needs it reads /proc/self/mountinfo instead.",
    ),
    Rule::always(&["setns"], EPERM, "Joining a namespace is the way out of a box."),
    Rule {
        calls: &["unshare"],
        cases: &[Case {
            when: &[MaskedLong(0, UNSHARE_BEYOND_SHARING, 0)],
            text: "no namespace is made",
            then: Answer::Allow,
        }],
        otherwise: EPERM,
        otherwise_text: "any flag but CLONE_FS, CLONE_FILES, CLONE_SYSVSEM, CLONE_SIGHAND, CLONE_THREAD, CLONE_VM",
        reason: NAMESPACES,
    },
    Rule {
        calls: &["clone"],
        cases: &[Case { when: &[Masked(0, NEW_NAMESPACES, 0)], text: "no namespace is made", then: Answer::Allow }],
        otherwise: EPERM,
        otherwise_text: "any CLONE_NEW* flag (CLONE_NEWTIME cannot be given to this call)",
        reason: NAMESPACES,
    },
    Rule::always(
        &["clone3"],
        ENOSYS,
        "Its flags are behind a pointer, where no filter can read them; C libraries fall back to clone.",
    ),
    Rule::always(
        &["ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd"],
        EPERM,
        "A debugger's reach into other processes, and a long row of kernel holes (CVE-2019-13272, CVE-2022-30594).",
    ),
    Rule::always(&["kcmp"], EPERM_ONLY, "It compares kernel objects of two processes; graphics libraries only ask."),
    Rule::always(&["bpf"], EPERM, "Programs in the kernel."),
    Rule::always(&["perf_event_open"], EPERM, "Counters and samples of the kernel and of others."),
    Rule::always(&["userfaultfd"], EPERM, "It stops kernel code at a page fault for as long as the caller likes."),
    Rule::always(
        &["keyctl", "add_key", "request_key"],
        EPERM,
        "Kernel keyrings outlive processes and are shared by uid.",
    ),
    Rule::always(
        &["io_uring_setup", "io_uring_enter", "io_uring_register"],
        ENOSYS,
        "Its operations are system calls that no filter sees; runtimes fall back to epoll.",
    ),
    Rule::always(
        &["openat2"],
        ENOSYS,
        "Its mode is behind a pointer, where no filter can read it; callers fall back to openat.",
    ),
    no_set_id(&["chmod", "fchmod", "creat", "mknod"], &[plain_mode(&[Masked(1, SET_ID, 0)])]),
    no_set_id(&["fchmodat", "fchmodat2", "mknodat"], &[plain_mode(&[Masked(2, SET_ID, 0)])]),
    no_set_id(&["open"], &[creates_nothing(&[Masked(1, CREATES, 0)]), plain_mode(&[Masked(2, SET_ID, 0)])]),
    no_set_id(&["openat"], &[creates_nothing(&[Masked(2, CREATES, 0)]), plain_mode(&[Masked(3, SET_ID, 0)])]),
    Rule {
        calls: &["ioctl"],
        cases: &[Case {
            // TIOCSTI, TIOCLINUX, TIOCSETD, TCXONC (asm-generic/ioctls.h).
            when: &[IsNot(1, 0x5412), IsNot(1, 0x541c), IsNot(1, 0x5423), IsNot(1, 0x540a)],
            text: "any other request",
            then: Answer::Allow,
        }],
        otherwise: EPERM,
        otherwise_text: "TIOCSTI, TIOCLINUX, TIOCSETD or TCXONC, whatever the upper 32 bits",
        reason: "The first two type into the caller's terminal (CVE-2017-5226, CVE-2019-7303, CVE-2023-28100); the third \
                 loads line disciplines; the fourth stops a terminal, and whoever writes there after the program waits for ever.",
    },
    Rule {
        calls: &["socket", "socketpair"],
        cases: SOCKETS,
        otherwise: Answer::Deny(Errno::Eprotonosupport, OnKill::SameError),
        otherwise_text: "IPv4 or IPv6, and a protocol other than TCP, UDP, ICMP, ICMPv6, MPTCP",
        reason: "A rare family or protocol loads a rarely tested module on the host; the C library asks AF_NETLINK for \
                 interfaces and carries on without.",
    },
    Rule {
        calls: &["personality"],
        cases: &[
            Case { when: &[Is(0, u32::MAX)], text: "it only asks", then: Answer::Allow },
            Case {
                when: &[Masked(0, PERSONALITY_BEYOND_HARMLESS, 0)],
                text: "PER_LINUX, PER_LINUX32, UNAME26, ADDR_NO_RANDOMIZE",
                then: Answer::Allow,
            },
        ],
        otherwise: EPERM,
        otherwise_text: "anything but a query, PER_LINUX, PER_LINUX32, UNAME26, ADDR_NO_RANDOMIZE",
        reason: "The other values are old ABIs and weaker memory protection.",
    },
    Rule::always(
        &["open_by_handle_at"],
        EPERM,
        "It opens files by number, past every directory (the shocker escape from containers).",
    ),
    Rule::always(&["name_to_handle_at"], EPERM_ONLY, "It makes the numbers that open_by_handle_at takes."),
    Rule::always(&["fanotify_init", "fanotify_mark"], EPERM, "Events about whole mounts; inotify is allowed."),
    Rule::always(
        &["init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot"],
        EPERM,
        "The host's kernel.",
    ),
    Rule::always(
        &[
            "swapon",
            "swapoff",
            "acct",
            "quotactl",
            "quotactl_fd",
            "syslog",
            "vhangup",
            "sethostname",
            "setdomainname",
            "iopl",
            "ioperm",
        ],
        EPERM,
        "Administration of the host.",
    ),
    Rule::always(&["settimeofday", "clock_settime"], EPERM, "The host's clocks."),
    Rule::always(
        &["adjtimex", "clock_adjtime"],
        EPERM_ONLY,
        "The host's clocks; whether the call reads or sets is behind a pointer.",
    ),
    Rule::always(
        &["move_pages", "migrate_pages"],
        EPERM_ONLY,
        "Memory of other processes; NUMA libraries ask and carry on. Policies for one's own memory are allowed.",
    ),
    Rule::always(
        &["memfd_secret"],
        ENOSYS,
        "Memory that the kernel itself cannot read, and that forbids the host to hibernate.",
    ),
    Rule::always(&["modify_ldt"], ENOSYS, "Segments for 16-bit programs, absent from many kernels."),
    Rule::always(
        &[
            "uselib",
            "ustat",
            "sysfs",
            "_sysctl",
            "create_module",
            "get_kernel_syms",
            "query_module",
            "nfsservctl",
            "getpmsg",
            "putpmsg",
            "afs_syscall",
            "tuxcall",
            "security",
            "lookup_dcookie",
            "epoll_ctl_old",
            "epoll_wait_old",
            "vserver",
        ],
        ENOSYS,
        "Obsolete, most of them gone from the kernel.",
    ),
];

/// Types from 4 to 15 have one of these bits: the kernel reads the low four bits as the type.
const RARE_TYPE_BITS: [u32; 2] = [4, 8];

const fn rare_type(when: &'static [Condition]) -> Case {
    Case {
        when,
        text: "IPv4 or IPv6, and a type other than SOCK_STREAM, SOCK_DGRAM, SOCK_RAW",
        then: Answer::Deny(Errno::Esocktnosupport, OnKill::EndsRun),
    }
}

const fn everyday_protocol(when: &'static [Condition]) -> Case {
    Case { when, text: "IPv4 or IPv6 with an everyday protocol", then: Answer::Allow }
}

/// Sockets: local ones and those of IPv4 and IPv6 with their everyday protocols.
///
/// Every other family or protocol can make the kernel load a module for an unprivileged caller. The
/// errors are those of a kernel without that module: libraries know them.
const SOCKETS: &[Case] = &[
    Case { when: &[Is(0, AF_UNIX)], text: "AF_UNIX", then: Answer::Allow },
    Case { when: &[Is(0, AF_NETLINK)], text: "AF_NETLINK", then: Answer::Deny(Errno::Eafnosupport, OnKill::SameError) },
    Case {
        when: &[IsNot(0, AF_INET), IsNot(0, AF_INET6)],
        text: "any family but AF_UNIX, AF_INET, AF_INET6, AF_NETLINK (so AF_PACKET, AF_VSOCK, AF_ALG and the rest)",
        then: Answer::Deny(Errno::Eafnosupport, OnKill::EndsRun),
    },
    rare_type(&[Masked(1, RARE_TYPE_BITS[0], RARE_TYPE_BITS[0])]),
    rare_type(&[Masked(1, RARE_TYPE_BITS[1], RARE_TYPE_BITS[1])]),
    everyday_protocol(&[Is(2, 0)]),
    everyday_protocol(&[Is(2, 6)]),
    everyday_protocol(&[Is(2, 17)]),
    everyday_protocol(&[Is(2, 1)]),
    everyday_protocol(&[Is(2, 58)]),
    everyday_protocol(&[Is(2, 262)]),
];
