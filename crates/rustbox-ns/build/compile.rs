//! From the policy to one program of classic BPF.
//!
//! The program checks the ABI, then finds the call's number in a binary tree, then, for a few calls,
//! looks at arguments. seccompiler compiles the looks at arguments. It can give only one answer to
//! everything that matches, in a chain that grows with every call named, so the tree and the answers
//! are built here: `EPERM`, `ENOSYS` and a notification in one program of eight comparisons at most.
//! The kernel also walks the program once for every call number when a filter is loaded
//! (`seccomp_cache_prepare` in `kernel/seccomp.c`, since 5.11), so a short path counts twice.

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule, sock_filter,
};

use crate::BuildError;
use crate::policy::{FOREIGN_ABI, RULES, UNKNOWN_CALL};
use crate::rule::{Answer, Condition, OnKill, Rule};
use crate::table::CallTable;

/// Which of the two programs.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Mode {
    /// A denied call returns an error.
    Errno,
    /// A denied call is reported to the supervisor, unless ordinary programs need its error.
    Kill,
}

// Operations (linux/bpf_common.h).
const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;

// Offsets in `struct seccomp_data` (linux/seccomp.h).
const NUMBER_OFFSET: u32 = 0;
const ARCH_OFFSET: u32 = 4;

/// `BPF_MAXINSNS` (linux/bpf_common.h).
const MAX_INSTRUCTIONS: usize = 4096;

/// `__X32_SYSCALL_BIT` (asm/unistd.h on x86): with it a call is of the x32 ABI, under the native
/// architecture's mark. No native number comes near it on any architecture.
const X32_BIT: u32 = 0x4000_0000;

/// Calls from this number up to the next range's have the same program.
struct Range {
    first: u32,
    program: BpfProgram,
}

/// Compiles the policy for one architecture.
pub(crate) fn compile(table: &CallTable, audit_arch: u32, mode: Mode) -> Result<BpfProgram, BuildError> {
    let mut program = vec![
        load(ARCH_OFFSET),
        sock_filter { code: JUMP_EQUAL, jt: 1, jf: 0, k: audit_arch },
        answer(FOREIGN_ABI, mode),
        load(NUMBER_OFFSET),
    ];
    let ranges = ranges(table, mode)?;
    let shared = shared_programs(&ranges);
    program.append(&mut tree(&ranges, &shared));
    append_shared(&mut program, &shared);
    if program.len() > MAX_INSTRUCTIONS {
        return Err(BuildError::TooLong { instructions: program.len() });
    }
    Ok(program)
}

/// All 32-bit numbers, cut where the answer changes.
fn ranges(table: &CallTable, mode: Mode) -> Result<Vec<Range>, BuildError> {
    let unknown = || vec![answer(UNKNOWN_CALL, mode)];
    let mut ranges: Vec<Range> = Vec::new();
    let mut push = |first, program| {
        if ranges.last().is_none_or(|last| last.program != program) {
            ranges.push(Range { first, program });
        }
    };
    let mut next = 0;
    for (number, call) in table.calls() {
        if number != next {
            push(next, unknown());
        }
        push(number, call_program(call, mode)?);
        next = number + 1;
    }
    push(next, unknown());
    push(X32_BIT, vec![answer(FOREIGN_ABI, mode)]);
    // Negative numbers are nobody's ABI.
    push(2 * X32_BIT, unknown());
    Ok(ranges)
}

fn call_program(call: &str, mode: Mode) -> Result<BpfProgram, BuildError> {
    RULES
        .iter()
        .find(|rule| rule.calls.contains(&call))
        .map_or_else(|| Ok(vec![answer(Answer::Allow, mode)]), |rule| rule_program(rule, mode))
}

/// The cases in order, each followed by its answer, then the answer for the rest.
fn rule_program(rule: &Rule, mode: Mode) -> Result<BpfProgram, BuildError> {
    let call = rule.calls.first().copied().unwrap_or_default();
    let mut program = BpfProgram::new();
    for case in rule.cases {
        let conditions = case.when.iter().map(condition).collect::<Result<Vec<_>, _>>();
        let seccomp_rule =
            conditions.and_then(SeccompRule::new).map_err(|source| BuildError::Condition { call, source })?;
        // A rule of seccompiler jumps over one instruction when it does not match.
        program.append(&mut without_leading_jumps(BpfProgram::from(seccomp_rule)));
        program.push(answer(case.then, mode));
    }
    program.push(answer(rule.otherwise, mode));
    Ok(program)
}

/// Drops a jump at the start together with what it jumps over: BPF only jumps forward, so nothing
/// else leads there. Every rule of seccompiler begins with two such instructions.
fn without_leading_jumps(mut program: BpfProgram) -> BpfProgram {
    while let Some(sock_filter { code: JUMP, k, .. }) = program.first() {
        let skipped = usize::try_from(*k).unwrap_or(usize::MAX).saturating_add(1).min(program.len());
        program.drain(..skipped);
    }
    program
}

fn condition(condition: &Condition) -> Result<SeccompCondition, seccompiler::BackendError> {
    use SeccompCmpArgLen::{Dword, Qword};
    match *condition {
        Condition::Is(argument, value) => SeccompCondition::new(argument, Dword, SeccompCmpOp::Eq, value.into()),
        Condition::IsNot(argument, value) => SeccompCondition::new(argument, Dword, SeccompCmpOp::Ne, value.into()),
        Condition::Masked(argument, mask, value) => {
            SeccompCondition::new(argument, Dword, SeccompCmpOp::MaskedEq(mask.into()), value.into())
        }
        Condition::MaskedLong(argument, mask, value) => {
            SeccompCondition::new(argument, Qword, SeccompCmpOp::MaskedEq(mask), value)
        }
    }
}

/// The programs that several ranges have, apart from single answers: `socket` and `socketpair` check
/// the same arguments. Loading a filter costs time for every instruction.
fn shared_programs(ranges: &[Range]) -> Vec<BpfProgram> {
    let mut shared: Vec<BpfProgram> = Vec::new();
    for (index, range) in ranges.iter().enumerate() {
        let again = ranges.iter().skip(index + 1).any(|later| later.program == range.program);
        if range.program.len() > 1 && again && !shared.contains(&range.program) {
            shared.push(range.program.clone());
        }
    }
    shared
}

/// Puts the shared programs at the end and directs the jumps of the tree's leaves to them.
fn append_shared(program: &mut BpfProgram, shared: &[BpfProgram]) {
    for (index, block) in shared.iter().enumerate() {
        let block_start = program.len();
        for (position, instruction) in program.iter_mut().enumerate() {
            if *instruction == jump_to_shared(index) {
                *instruction = jump(block_start - position - 1);
            }
        }
        program.extend_from_slice(block);
    }
}

/// Stands in the tree until the place of the shared program is known. No real jump is this far.
fn jump_to_shared(index: usize) -> sock_filter {
    jump(MAX_INSTRUCTIONS + index)
}

/// A binary tree over the ranges: the number is in the accumulator.
fn tree(ranges: &[Range], shared: &[BpfProgram]) -> BpfProgram {
    if let [range] = ranges {
        let place = shared.iter().position(|program| *program == range.program);
        return place.map_or_else(|| range.program.clone(), |index| vec![jump_to_shared(index)]);
    }
    let (lower, upper) = ranges.split_at(ranges.len() / 2);
    let Some(first_of_upper) = upper.first() else { return BpfProgram::new() };
    let (mut low, mut high) = (tree(lower, shared), tree(upper, shared));
    let mut program = match u8::try_from(low.len()) {
        Ok(jt) => vec![sock_filter { code: JUMP_GREATER_OR_EQUAL, jt, jf: 0, k: first_of_upper.first }],
        // A conditional jump reaches 255 instructions, an unconditional one all of them.
        Err(_) => {
            vec![sock_filter { code: JUMP_GREATER_OR_EQUAL, jt: 0, jf: 1, k: first_of_upper.first }, jump(low.len())]
        }
    };
    program.append(&mut low);
    program.append(&mut high);
    program
}

/// The checker of the kernel refuses a jump that does not fit, so the filter could never be loaded.
fn jump(distance: usize) -> sock_filter {
    sock_filter { code: JUMP, jt: 0, jf: 0, k: u32::try_from(distance).unwrap_or(u32::MAX) }
}

fn load(offset: u32) -> sock_filter {
    sock_filter { code: LOAD, jt: 0, jf: 0, k: offset }
}

fn answer(answer: Answer, mode: Mode) -> sock_filter {
    let k = match (answer, mode) {
        (Answer::Allow, _) => u32::from(SeccompAction::Allow),
        (Answer::Deny(_, OnKill::EndsRun), Mode::Kill) => libc::SECCOMP_RET_USER_NOTIF,
        (Answer::Deny(errno, _), _) => u32::from(SeccompAction::Errno(errno.number().into())),
    };
    sock_filter { code: RETURN, jt: 0, jf: 0, k }
}
