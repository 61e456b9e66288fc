//! `cargo xtask layout`: which functions a run enters, so that the linker puts them next to each other.
//!
//! A program is paged in anew for each run, and the kernel maps 16 pages around each one that is touched (`do_fault_around`
//! in `mm/memory.c`). A run enters a tenth of the functions, and in the order of a link they are all over the text: nearly
//! all of it then counts as resident. `crates/rustbox-cli/layout.ld` lists them, and is an input of the release build.
//!
//! It is a hint: a function that is missing costs a page, and one that is gone costs nothing. So it is made anew when the
//! budget of `supervisor_peak_kib` is short, not with every change. Names are kept without the hashes that a compiler,
//! a version or a directory changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::bench;
use crate::bench::Stage;
use crate::command;
use crate::workspace::Workspace;

/// What the linker reads.
const FILE: &str = "crates/rustbox-cli/layout.ld";
const HEAD: &str = "/* Written by `cargo xtask layout`: the functions that a run enters, ahead of all others. */\n";
/// Fewer would be a trace that went wrong.
const FEWEST: usize = 200;

/// Runs the release binary with a breakpoint at each function, and writes the list.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let rustbox = workspace.release_binary()?;
    let functions = functions(&rustbox)?;
    let entered = bench::in_directory(|directory| entered(workspace, directory, &rustbox, &functions))?;
    let names: BTreeSet<&str> =
        entered.iter().filter_map(|address| functions.get(address)).flatten().map(String::as_str).collect();
    if names.len() < FEWEST {
        bail!("only {} functions were entered", names.len());
    }
    let mut sections: BTreeSet<String> = names.iter().filter_map(|name| rust_section(name)).collect();
    let (rust, members) = (sections.len(), libc_members(&names)?);
    sections.extend(members.iter().map(|member| format!("*libc.a:{member}(.text .text.*)")));
    let lines: String = sections.iter().map(|section| format!("    {section}\n")).collect();
    let script = format!("{HEAD}SECTIONS\n{{\n  .text.entered :\n  {{\n{lines}  }}\n}}\nINSERT BEFORE .text;\n");
    fs::write(workspace.root.join(FILE), script).with_context(|| format!("write {FILE}"))?;
    println!("{FILE}: {} functions were entered: {rust} names of Rust, {} members of libc", names.len(), members.len());
    Ok(())
}

/// The functions of a program: their names by address. One that was merged with another has several.
fn functions(program: &Path) -> Result<BTreeMap<u64, Vec<String>>> {
    let table = command::output(Command::new("nm").args(["--defined-only", "--print-size"]).arg(program))?;
    let mut functions: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for line in table.lines() {
        let [address, _size, kind, name] = line.split(' ').collect::<Vec<_>>()[..] else { continue };
        if matches!(kind, "t" | "T" | "w" | "W") {
            let address = u64::from_str_radix(address, 16).with_context(|| format!("an address: {line}"))?;
            functions.entry(address).or_default().push(name.to_owned());
        }
    }
    Ok(functions)
}

/// The addresses of those that are entered by runs as they are usual.
fn entered(
    workspace: &Workspace,
    directory: &Path,
    rustbox: &Path,
    functions: &BTreeMap<u64, Vec<String>>,
) -> Result<BTreeSet<u64>> {
    let nothing = bench::compile(workspace, directory, "nothing")?;
    let tracer = bench::compile(workspace, directory, "entered")?;
    let stage = Stage::new(directory, rustbox, nothing)?;
    let (addresses, out) = (directory.join("addresses"), directory.join("hits"));
    fs::write(&addresses, functions.keys().map(|address| format!("{address:x}\n")).collect::<String>())?;
    let mut entered = BTreeSet::new();
    for flags in [&[][..], &["--json", "--mem", "64M", "--time", "1", "--wall-time", "10"]] {
        let mut words = stage.run(&stage.nothing);
        let at = words.iter().position(|word| word == "run").context("a run")? + 1;
        words.splice(at..at, flags.iter().map(|flag| (*flag).to_owned()));
        let mut traced = Command::new(&tracer);
        command::output(traced.arg(&addresses).arg(&out).args(&words))?;
        let text = fs::read_to_string(&out).with_context(|| format!("read {}", out.display()))?;
        for line in text.lines() {
            entered.insert(u64::from_str_radix(line, 16).with_context(|| format!("an address: {line}"))?);
        }
    }
    Ok(entered)
}

/// The pattern of the sections of a Rust function, whatever it was compiled for; none for another language's.
fn rust_section(name: &str) -> Option<String> {
    let pattern = if name.starts_with("_ZN") {
        // `_ZN` path `17h` hash `E`, and what the optimiser has added.
        let path = name.rfind("17h").and_then(|at| name.get(..at))?;
        format!("{path}17h*")
    } else if name.starts_with("_R") {
        without_crate_hashes(name)
    } else {
        return None;
    };
    Some(format!("*(.text.{pattern})"))
}

/// `Cs` hash `_` length name: a crate, in the symbols of the second version.
fn without_crate_hashes(name: &str) -> String {
    let mut pieces = name.split("Cs");
    let mut pattern = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let is_hash = |hash: &str| !hash.is_empty() && hash.chars().all(|c| c.is_ascii_alphanumeric());
        match piece.split_once('_') {
            Some((hash, rest)) if is_hash(hash) && rest.starts_with(|c: char| c.is_ascii_digit()) => {
                pattern.push_str("Cs*_");
                pattern.push_str(rest);
            }
            _ => {
                pattern.push_str("Cs");
                pattern.push_str(piece);
            }
        }
    }
    pattern
}

/// The members of libc's archive that define these functions.
fn libc_members(names: &BTreeSet<&str>) -> Result<BTreeSet<String>> {
    let archive = command::output(Command::new("cc").arg("-print-file-name=libc.a"))?;
    let table = command::output(Command::new("nm").args(["--defined-only", "--print-file-name"]).arg(archive.trim()))?;
    let mut members = BTreeSet::new();
    for line in table.lines() {
        // `PATH:MEMBER:ADDRESS KIND NAME`
        let mut words = line.rsplitn(3, ' ');
        let (Some(name), Some(kind), Some(place)) = (words.next(), words.next(), words.next()) else { continue };
        let member = place.rsplit(':').nth(1);
        if let Some(member) = member.filter(|_| matches!(kind, "t" | "T" | "w" | "W" | "i") && names.contains(name)) {
            members.insert(member.to_owned());
        }
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_left_out_of_names() {
        let old = "_ZN12clap_builder6parser17h278956726180a7c9E.llvm.123";
        assert_eq!(rust_section(old).as_deref(), Some("*(.text._ZN12clap_builder6parser17h*)"));
        let new = "_RINvMs2_NtCslNYArtu3iFV_5alloc7raw_vecINtB8_11RawVecInnerpE7reserveECs4X4t9plMPHF_9addr2line";
        let expected = "*(.text._RINvMs2_NtCs*_5alloc7raw_vecINtB8_11RawVecInnerpE7reserveECs*_9addr2line)";
        assert_eq!(rust_section(new).as_deref(), Some(expected));
        assert_eq!(rust_section("malloc"), None);
    }
}
