//! What the compiled filter answers to every call, without a kernel.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "every function of this file is a test or serves one, and skips are named"
)]

#[path = "seccomp_support/bpf.rs"]
mod bpf;
#[path = "seccomp_support/sources.rs"]
mod sources;

use std::fmt::Write as _;

use bpf::{Call, Evaluation, evaluate};
use rustbox_core::SeccompMode;
use rustbox_ns::seccomp::{
    Answer, Architecture, Condition, Denial, Errno, FOREIGN_ABI, OnKill, RULES, Rule, UNKNOWN_CALL, describe, filter,
    notified_syscall_name, syscall_name,
};

const ARCHITECTURES: [Architecture; 2] = [Architecture::X86_64, Architecture::Aarch64];
const MODES: [SeccompMode; 2] = [SeccompMode::Errno, SeccompMode::Kill];
const AUDIT_ARCH_I386: u32 = 0x4000_0003;
const AUDIT_ARCH_ARM: u32 = 0x4000_0028;
const X32_BIT: u32 = 0x4000_0000;

fn ask(architecture: Architecture, mode: SeccompMode, call: &Call) -> Evaluation {
    evaluate(architecture.program(mode).unwrap(), call)
}

/// The answer to a native call, as words.
fn answer(architecture: Architecture, mode: SeccompMode, number: u32, arguments: [u64; 6]) -> String {
    words(&ask(architecture, mode, &Call { audit_arch: architecture.audit_arch(), number, arguments }))
}

/// The answer to a native call of x86_64 by name, in the default mode.
fn x86(call: &str, arguments: &[u64]) -> String {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    answer(Architecture::X86_64, SeccompMode::Errno, number(Architecture::X86_64, call), all)
}

fn number(architecture: Architecture, call: &str) -> u32 {
    architecture.syscalls().iter().find(|(_, name)| *name == call).unwrap().0
}

fn words(evaluation: &Evaluation) -> String {
    const ERRNOS: [Errno; 5] =
        [Errno::Eperm, Errno::Enosys, Errno::Eafnosupport, Errno::Esocktnosupport, Errno::Eprotonosupport];
    let errno = |number: u32| ERRNOS.into_iter().find(|errno| u32::from(errno.number()) == number);
    match (evaluation.action & 0xffff_0000, evaluation.action & 0xffff) {
        (libc::SECCOMP_RET_ALLOW, 0) => "allow".to_owned(),
        (libc::SECCOMP_RET_USER_NOTIF, 0) => "notify".to_owned(),
        (libc::SECCOMP_RET_ERRNO, data) => errno(data).unwrap().name().to_owned(),
        other => panic!("an answer outside the policy: {other:?}"),
    }
}

fn action(answer: Answer, mode: SeccompMode) -> u32 {
    match (answer, mode) {
        (Answer::Allow, _) => libc::SECCOMP_RET_ALLOW,
        (Answer::Deny(_, OnKill::EndsRun), SeccompMode::Kill) => libc::SECCOMP_RET_USER_NOTIF,
        (Answer::Deny(errno, _), _) => libc::SECCOMP_RET_ERRNO | u32::from(errno.number()),
    }
}

/// One line per number, runs of unnamed numbers with one answer joined.
fn table(architecture: Architecture, audit_arch: u32, numbers: impl Iterator<Item = u32>) -> String {
    let mut lines: Vec<(u32, u32, String)> = Vec::new();
    for number in numbers {
        let native = audit_arch == architecture.audit_arch();
        let name = architecture.syscalls().iter().find(|(known, _)| native && *known == number).map(|(_, name)| *name);
        let call = Call { audit_arch, number, arguments: [0; 6] };
        let [errno, kill] = MODES.map(|mode| ask(architecture, mode, &call));
        let arguments = if errno.looked_at_arguments { "  by arguments; these for all 0" } else { "" };
        let line = format!("{:24} {:8} {}{arguments}", name.unwrap_or("-"), words(&errno), words(&kill));
        match lines.last_mut() {
            Some((_, last, same)) if name.is_none() && *same == line && *last + 1 == number => *last = number,
            _ => lines.push((number, number, line)),
        }
    }
    let mut text = format!("{:12} {:24} {:8} kill\n", "number", "call", "errno");
    for (first, last, line) in lines {
        let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
        writeln!(text, "{range:12} {line}").unwrap();
    }
    text
}

#[test]
fn every_native_call_of_x86_64_has_its_answer() {
    if !sources::are_here("every_native_call_of_x86_64_has_its_answer") {
        return;
    }
    let architecture = Architecture::X86_64;
    insta::assert_snapshot!(table(architecture, architecture.audit_arch(), 0..=1024));
}

#[test]
fn every_native_call_of_aarch64_has_its_answer() {
    if !sources::are_here("every_native_call_of_aarch64_has_its_answer") {
        return;
    }
    let architecture = Architecture::Aarch64;
    insta::assert_snapshot!(table(architecture, architecture.audit_arch(), 0..=1024));
}

#[test]
fn foreign_abis_get_nothing() {
    if !sources::are_here("foreign_abis_get_nothing") {
        return;
    }
    let x32 = (0..=1024).map(|number| number | X32_BIT);
    let x86_64 = Architecture::X86_64;
    let tables = [
        ("x32 on x86_64", table(x86_64, x86_64.audit_arch(), x32.chain([0x7fff_ffff, 0x8000_0000, u32::MAX]))),
        ("i386 on x86_64", table(x86_64, AUDIT_ARCH_I386, (0..=1024).chain([u32::MAX]))),
        ("ARM on aarch64", table(Architecture::Aarch64, AUDIT_ARCH_ARM, (0..=1024).chain([u32::MAX]))),
    ];
    insta::assert_snapshot!(tables.map(|(title, table)| format!("{title}\n{table}")).join("\n"));
}

/// What the policy's data says, read without compiling it.
fn decide(rule: &Rule, arguments: &[u64; 6]) -> Answer {
    let holds = |condition: &Condition| {
        let low = |argument: u8| arguments[usize::from(argument)] & u64::from(u32::MAX);
        match *condition {
            Condition::Is(argument, value) => low(argument) == u64::from(value),
            Condition::IsNot(argument, value) => low(argument) != u64::from(value),
            Condition::Masked(argument, mask, value) => low(argument) & u64::from(mask) == u64::from(value),
            Condition::MaskedLong(argument, mask, value) => arguments[usize::from(argument)] & mask == value,
        }
    };
    rule.cases.iter().find(|case| case.when.iter().all(holds)).map_or(rule.otherwise, |case| case.then)
}

/// Arguments at the edges of what rules compare: 0, all bits, each bit alone and under high bits, and
/// the values that the policy's conditions name.
fn interesting_values() -> Vec<u64> {
    let named = RULES.iter().flat_map(|rule| rule.cases).flat_map(|case| case.when).map(|condition| match *condition {
        Condition::Is(_, value) | Condition::IsNot(_, value) => u64::from(value),
        Condition::Masked(_, mask, _) => u64::from(mask),
        Condition::MaskedLong(_, mask, _) => mask,
    });
    let bits = (0..64).map(|bit| 1 << bit);
    let values: Vec<u64> = named.chain(bits).chain([0, 3, 5, 0o644, 0o4755]).collect();
    values.iter().flat_map(|value| [*value, !value, value | 1 << 32, value | 1 << 63]).collect()
}

#[test]
fn the_program_decides_as_the_policy_reads() {
    let values = interesting_values();
    let mut decisions = 0_u64;
    for architecture in ARCHITECTURES {
        for rule in RULES {
            for (number, _) in architecture.syscalls().iter().filter(|(_, name)| rule.calls.contains(name)) {
                // Every value in one argument, under every value of its neighbour.
                for (first, value) in values.iter().enumerate() {
                    for second in 0..values.len() {
                        let other = values[(first + second) % values.len()];
                        let arguments = [*value, other, values[second], *value, other, *value];
                        let call = Call { audit_arch: architecture.audit_arch(), number: *number, arguments };
                        for mode in MODES {
                            let got = ask(architecture, mode, &call).action;
                            assert_eq!(got, action(decide(rule, &arguments), mode), "{rule:?} {arguments:x?}");
                            decisions += 1;
                        }
                        if rule.cases.is_empty() {
                            break;
                        }
                    }
                }
            }
        }
    }
    assert!(decisions > 1_000_000, "only {decisions} decisions were compared");
}

#[test]
fn a_call_without_a_rule_is_allowed_whatever_its_arguments() {
    for architecture in ARCHITECTURES {
        for (number, name) in architecture.syscalls() {
            if RULES.iter().any(|rule| rule.calls.contains(name)) {
                continue;
            }
            let call = Call { audit_arch: architecture.audit_arch(), number: *number, arguments: [u64::MAX; 6] };
            for mode in MODES {
                let evaluation = ask(architecture, mode, &call);
                assert_eq!((words(&evaluation).as_str(), evaluation.looked_at_arguments), ("allow", false), "{name}");
            }
        }
    }
}

#[test]
fn a_number_beyond_the_table_answers_enosys_in_both_modes() {
    assert_eq!(UNKNOWN_CALL, Answer::Deny(Errno::Enosys, OnKill::SameError));
    for architecture in ARCHITECTURES {
        let last = architecture.syscalls().last().unwrap().0;
        for number in [last + 1, last + 100, 0x3fff_ffff, 0x8000_0000, u32::MAX] {
            assert_eq!(MODES.map(|mode| answer(architecture, mode, number, [0; 6])), ["ENOSYS", "ENOSYS"], "{number}");
        }
    }
}

#[test]
fn no_answer_kills_by_a_signal() {
    // A death by SIGSYS in a report is then the payload's own doing.
    for program in ARCHITECTURES.into_iter().flat_map(|architecture| MODES.map(|mode| architecture.program(mode))) {
        for instruction in program.unwrap().iter().filter(|instruction| instruction.code == 0x06) {
            let kind = instruction.k & 0xffff_0000;
            assert!(
                [libc::SECCOMP_RET_ALLOW, libc::SECCOMP_RET_ERRNO, libc::SECCOMP_RET_USER_NOTIF].contains(&kind),
                "{kind:#x}"
            );
        }
    }
    assert_eq!(FOREIGN_ABI, Answer::Deny(Errno::Enosys, OnKill::EndsRun));
}

#[test]
fn a_call_costs_few_instructions_and_a_program_is_short() {
    for architecture in ARCHITECTURES {
        for mode in MODES {
            assert!(architecture.program(mode).unwrap().len() < 320);
            let most = (0..=1024).map(|number| {
                ask(architecture, mode, &Call { audit_arch: architecture.audit_arch(), number, arguments: [0; 6] })
                    .instructions
            });
            assert!(most.max().unwrap() <= 30);
        }
    }
}

#[test]
fn namespaces_cannot_be_made() {
    for flag in [0x0002_0000_u64, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000] {
        assert_eq!(x86("clone", &[flag | 17]), "EPERM");
        assert_eq!(x86("unshare", &[flag]), "EPERM");
        assert_eq!(x86("clone", &[flag | 17 | 1 << 32]), "EPERM");
    }
    // CLONE_NEWTIME: a flag of unshare, and part of the exit signal of clone.
    assert_eq!(x86("unshare", &[0x80]), "EPERM");
    assert_eq!(x86("clone", &[0x80]), "allow");
    assert_eq!(x86("unshare", &[1 << 33]), "EPERM");
    assert_eq!(x86("clone3", &[]), "ENOSYS");
}

#[test]
fn threads_and_processes_can_be_made() {
    // pthread_create and vfork of glibc, fork of musl.
    assert_eq!(x86("clone", &[0x003d_0f00]), "allow");
    assert_eq!(x86("clone", &[0x0000_4111]), "allow");
    assert_eq!(x86("clone", &[0x0120_0011]), "allow");
    assert_eq!(x86("unshare", &[0x0600]), "allow");
}

#[test]
fn sockets_are_local_or_of_the_internet() {
    let stream = 1 | 0o2_000_000 | 0o4000;
    for call in ["socket", "socketpair"] {
        assert_eq!(x86(call, &[1, stream]), "allow");
        assert_eq!(x86(call, &[1, 5]), "allow");
        for family in [2, 10] {
            for (kind, protocol) in [(stream, 0), (stream, 6), (stream, 262), (2, 17), (2, 0), (2, 1), (2, 58), (3, 1)]
            {
                assert_eq!(x86(call, &[family, kind, protocol]), "allow");
            }
            for rare in [4, 5, 6, 10, 15] {
                assert_eq!(x86(call, &[family, rare | 0o2_000_000, 0]), "ESOCKTNOSUPPORT");
            }
            for rare in [33, 115, 132, 136, 256] {
                assert_eq!(x86(call, &[family, stream, rare]), "EPROTONOSUPPORT");
            }
        }
        // NETLINK, PACKET, ALG, VSOCK, KEY, BLUETOOTH, and VSOCK with bits that the kernel ignores.
        for family in [16, 17, 38, 40, 15, 31, 40 | 1 << 32] {
            assert_eq!(x86(call, &[family, stream]), "EAFNOSUPPORT", "family {family}");
        }
    }
}

#[test]
fn the_callers_terminal_cannot_be_typed_into() {
    for request in [0x5412_u64, 0x541c, 0x5423, 0x540a] {
        for high in [0, 1, 0x8000_0000, 0xffff_ffff_u64] {
            assert_eq!(x86("ioctl", &[0, request | high << 32]), "EPERM");
        }
    }
    for request in [0x5401, 0x5413, 0x5421, 0x541b] {
        assert_eq!(x86("ioctl", &[0, request]), "allow");
    }
}

#[test]
fn a_set_id_file_cannot_be_made() {
    let (create, tmpfile) = (0o100 | 0o1, 0o20_200_000 | 0o1);
    for bits in [0o4000, 0o2000, 0o6000] {
        let mode = bits | 0o755;
        for (call, arguments) in [
            ("chmod", vec![0, mode]),
            ("fchmod", vec![0, mode]),
            ("fchmodat", vec![0, 0, mode]),
            ("fchmodat2", vec![0, 0, mode, 0x100]),
            ("creat", vec![0, mode]),
            ("mknod", vec![0, mode | 0o100_000]),
            ("mknodat", vec![0, 0, mode | 0o100_000]),
            ("open", vec![0, create, mode]),
            ("open", vec![0, tmpfile, mode]),
            ("openat", vec![0, 0, create, mode]),
            ("openat", vec![0, 0, tmpfile, mode]),
        ] {
            assert_eq!(x86(call, &arguments), "EPERM", "{call} {arguments:?}");
        }
        // Without O_CREAT the mode is whatever the register held.
        assert_eq!(x86("openat", &[0, 0, 0o2, mode]), "allow");
        assert_eq!(x86("open", &[0, 0, mode]), "allow");
    }
    assert_eq!(x86("chmod", &[0, 0o1777]), "allow");
    assert_eq!(x86("openat", &[0, 0, create, 0o1777]), "allow");
    assert_eq!(x86("openat2", &[]), "ENOSYS");
}

#[test]
fn a_personality_may_be_asked_for_and_kept_harmless() {
    for persona in [0, 0xffff_ffff, 0x8, 0x2_0000, 0x4_0000, 0x6_0008] {
        assert_eq!(x86("personality", &[persona]), "allow");
    }
    for persona in [0x10_0000, 0x40_0000, 0x20_0000, 0x800_0000, 1, 0xffff_fffe] {
        assert_eq!(x86("personality", &[persona]), "EPERM");
    }
}

#[test]
fn what_libraries_and_runtimes_start_with_is_allowed() {
    for call in [
        "rseq",
        "set_robust_list",
        "set_tid_address",
        "prctl",
        "arch_prctl",
        "membarrier",
        "sched_getaffinity",
        "sched_setaffinity",
        "sched_setscheduler",
        "madvise",
        "getrandom",
        "statx",
        "pidfd_open",
        "pidfd_send_signal",
        "close_range",
        "memfd_create",
        "prlimit64",
        "futex",
        "futex_waitv",
        "seccomp",
        "landlock_create_ruleset",
        "landlock_restrict_self",
        "get_mempolicy",
        "mbind",
        "set_mempolicy",
        "epoll_pwait2",
        "faccessat2",
        "mseal",
        "fchmodat2",
        "execveat",
        "vfork",
        "process_madvise",
        "uretprobe",
    ] {
        assert_eq!(x86(call, &[]), "allow", "{call}");
    }
}

#[test]
fn a_call_has_its_native_name_and_no_other() {
    let native = Architecture::NATIVE;
    assert_eq!(syscall_name(i32::try_from(libc::SYS_ptrace).unwrap()), Some("ptrace"));
    assert_eq!(syscall_name(i32::try_from(libc::SYS_io_uring_setup).unwrap()), Some("io_uring_setup"));
    assert_eq!(syscall_name(-1), None);
    assert_eq!(syscall_name(100_000), None);
    assert_eq!(notified_syscall_name(native.audit_arch(), 0), syscall_name(0));
    assert_eq!(notified_syscall_name(AUDIT_ARCH_I386, 26), None);
    assert!(filter(SeccompMode::Off).is_none());
    assert_eq!(filter(SeccompMode::Kill).unwrap().len(), native.program(SeccompMode::Kill).unwrap().len());
}

/// The table in the documentation, as the policy has it.
fn documented() -> String {
    let mut text =
        String::from("| calls | denied when | answer | with `--seccomp kill` | why |\n|---|---|---|---|---|\n");
    for Denial { calls, when, errno, on_kill, reason } in describe() {
        let calls = calls.iter().map(|call| format!("`{call}`")).collect::<Vec<_>>().join(", ");
        let kill = match on_kill {
            OnKill::EndsRun => "ends the run",
            OnKill::SameError => "same error",
        };
        writeln!(text, "| {calls} | {when} | `{}` | {kill} | {reason} |", errno.name()).unwrap();
    }
    text
}

#[test]
fn the_documentation_lists_what_the_filter_denies() {
    const BEGIN: &str = "<!-- The policy: printed by the test seccomp_policy. -->\n";
    const END: &str = "<!-- The end of the policy. -->";
    let document = include_str!("../../../docs/seccomp.md");
    let (_, rest) = document.split_once(BEGIN).expect("the table's beginning is marked");
    let (table, _) = rest.split_once(END).expect("the table's end is marked");
    let wanted = documented();
    assert!(table == wanted, "docs/seccomp.md is behind the policy; its table should be:\n{wanted}");
}

/// The C library's header is another author's copy of the kernel's table.
#[test]
fn numbers_and_names_are_those_of_the_systems_header() {
    if !sources::are_here("numbers_and_names_are_those_of_the_systems_header") {
        return;
    }
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let mut compiler = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()))
        .args(["-E", "-dM", "-xc", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a C compiler");
    compiler.stdin.take().unwrap().write_all(b"#include <asm/unistd.h>\n").unwrap();
    let output = compiler.wait_with_output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let mut compared = 0;
    for line in text.lines() {
        let Some((name, value)) = line.strip_prefix("#define __NR_").and_then(|line| line.split_once(' ')) else {
            continue;
        };
        let Ok(number) = value.parse::<i32>() else { continue };
        if name == "syscalls" || number > 469 {
            continue;
        }
        assert_eq!(syscall_name(number), Some(name), "call {number}");
        compared += 1;
    }
    assert!(compared > 250, "the header has only {compared} calls");
}
