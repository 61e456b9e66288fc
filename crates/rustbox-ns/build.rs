//! Compiles the system call policy into the programs that the kernel runs, once, when rustbox is built.
//!
//! A filter built at run time costs milliseconds per run; a static array costs a copy in the kernel.
//! Input: `src/seccomp/policy.rs` and the call tables in `build/`. Output: `seccomp_programs.rs` in
//! `OUT_DIR`, which `src/seccomp/programs.rs` includes.

use std::io::Write as _;
use std::path::Path;
use std::{env, fs, io};

#[path = "build/compile.rs"]
mod compile;
#[expect(unreachable_pub, reason = "the crate proper exports the policy")]
#[path = "src/seccomp/policy.rs"]
mod policy;
#[expect(dead_code, unreachable_pub, reason = "the crate proper uses the words and exports the types")]
#[path = "src/seccomp/rule.rs"]
mod rule;
#[path = "build/table.rs"]
mod table;

use compile::{Mode, compile};
use table::CallTable;

/// An architecture that rustbox has a filter for.
struct Target {
    /// As in `CARGO_CFG_TARGET_ARCH`, and in the name of the call table.
    name: &'static str,
    /// `AUDIT_ARCH_*` of its native ABI (`linux/audit.h`).
    audit_arch: u32,
}

const TARGETS: &[Target] =
    &[Target { name: "x86_64", audit_arch: 0xc000_003e }, Target { name: "aarch64", audit_arch: 0xc000_00b7 }];

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
enum BuildError {
    #[error("read the call table {path}")]
    ReadTable { path: String, source: io::Error },
    #[error("line `{line}` of {path} is not a number and a name in ascending order")]
    MalformedTable { path: String, line: String },
    #[error("the policy names `{call}`, which no call table has")]
    UnknownCall { call: &'static str },
    #[error("the policy names `{call}` twice")]
    NamedTwice { call: &'static str },
    #[error("compile a condition on `{call}`")]
    Condition { call: &'static str, source: seccompiler::BackendError },
    #[error("the filter has {instructions} instructions, more than the kernel takes")]
    TooLong { instructions: usize },
    #[error("no system call table for {arch}: rustbox runs on x86_64 and aarch64")]
    UnsupportedTarget { arch: String },
    #[error("write the programs")]
    Write { source: io::Error },
}

fn main() -> Result<(), BuildError> {
    for input in ["build.rs", "build", "src/seccomp/policy.rs", "src/seccomp/rule.rs"] {
        println!("cargo::rerun-if-changed={input}");
    }
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    if !TARGETS.iter().any(|target| target.name == arch) {
        return Err(BuildError::UnsupportedTarget { arch });
    }
    let tables = TARGETS.iter().map(|target| CallTable::read(target.name)).collect::<Result<Vec<_>, _>>()?;
    check_names(&tables)?;

    let mut text = Vec::new();
    for (target, table) in TARGETS.iter().zip(&tables) {
        let name = target.name.to_uppercase();
        let write_error = |source| BuildError::Write { source };
        writeln!(text, "/// `AUDIT_ARCH_*` of {}.", target.name).map_err(write_error)?;
        writeln!(text, "pub(super) const {name}_AUDIT_ARCH: u32 = {};", target.audit_arch).map_err(write_error)?;
        write_names(&mut text, &name, table).map_err(write_error)?;
        for (mode, suffix) in [(Mode::Errno, "ERRNO"), (Mode::Kill, "KILL")] {
            let program = compile(table, target.audit_arch, mode)?;
            write_program(&mut text, &format!("{name}_{suffix}"), &program).map_err(write_error)?;
        }
    }
    let output = Path::new(&env::var("OUT_DIR").unwrap_or_default()).join("seccomp_programs.rs");
    fs::write(output, text).map_err(|source| BuildError::Write { source })
}

/// Refuses a name that is misspelt or has two rules: either would silently open a call.
fn check_names(tables: &[CallTable]) -> Result<(), BuildError> {
    let mut seen = std::collections::BTreeSet::new();
    for call in policy::RULES.iter().flat_map(|rule| rule.calls.iter().copied()) {
        if !tables.iter().any(|table| table.number(call).is_some()) {
            return Err(BuildError::UnknownCall { call });
        }
        if !seen.insert(call) {
            return Err(BuildError::NamedTwice { call });
        }
    }
    Ok(())
}

fn write_names(text: &mut Vec<u8>, name: &str, table: &CallTable) -> io::Result<()> {
    writeln!(text, "/// Numbers and names, by number.")?;
    writeln!(text, "pub(super) static {name}_NAMES: &[(u32, &str)] = &[")?;
    for (number, call) in table.calls() {
        writeln!(text, "    ({number}, {call:?}),")?;
    }
    writeln!(text, "];")
}

fn write_program(text: &mut Vec<u8>, name: &str, program: &[seccompiler::sock_filter]) -> io::Result<()> {
    writeln!(text, "/// What the kernel runs.")?;
    writeln!(text, "pub(super) static {name}: &[libc::sock_filter] = &[")?;
    for instruction in program {
        let seccompiler::sock_filter { code, jt, jf, k } = instruction;
        writeln!(text, "    libc::sock_filter {{ code: {code}, jt: {jt}, jf: {jf}, k: {k} }},")?;
    }
    writeln!(text, "];")
}
