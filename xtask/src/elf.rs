//! Says whether a program is static: whether it can run where there is nothing but itself.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// `PT_DYNAMIC` of `elf.h`: a static program that is position-independent has one too.
const PT_DYNAMIC: u32 = 2;
/// `PT_INTERP`: the path of the loader.
const PT_INTERP: u32 = 3;
/// `DT_NULL`: the end of the dynamic section.
const DT_NULL: u64 = 0;
/// `DT_NEEDED`: a library to load.
const DT_NEEDED: u64 = 1;

/// Fails when the program names a loader or a library.
pub(crate) fn check_static(path: &Path) -> Result<()> {
    let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    let needs = needs(&bytes).with_context(|| format!("{} is not a 64-bit little-endian ELF file", path.display()))?;
    if !needs.is_empty() {
        bail!("{} is not static: it has {}", path.display(), needs.join(" and "));
    }
    println!("{} is static, {} KiB", path.display(), bytes.len() / 1024);
    Ok(())
}

/// What the program cannot run without; nothing when the bytes are not such a file.
fn needs(elf: &[u8]) -> Option<Vec<&'static str>> {
    // \x7fELF, ELFCLASS64, ELFDATA2LSB.
    if elf.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let headers_at = usize::try_from(number::<8>(elf, 32)?).ok()?;
    let size = usize::try_from(number::<2>(elf, 54)?).ok()?;
    let count = usize::try_from(number::<2>(elf, 56)?).ok()?;
    let mut found = Vec::new();
    for index in 0..count {
        let at = headers_at.checked_add(index * size)?;
        let header = elf.get(at..at.checked_add(size)?)?;
        match u32::try_from(number::<4>(header, 0)?).ok()? {
            PT_INTERP => found.push("an interpreter (PT_INTERP)"),
            PT_DYNAMIC if names_a_library(elf, header)? => found.push("a library to load (DT_NEEDED)"),
            _ => {}
        }
    }
    Some(found)
}

fn names_a_library(elf: &[u8], header: &[u8]) -> Option<bool> {
    let start = usize::try_from(number::<8>(header, 8)?).ok()?;
    let length = usize::try_from(number::<8>(header, 32)?).ok()?;
    let section = elf.get(start..start.checked_add(length)?)?;
    let tags = section.chunks_exact(16).filter_map(|entry| number::<8>(entry, 0));
    Some(tags.take_while(|tag| *tag != DT_NULL).any(|tag| tag == DT_NEEDED))
}

/// A little-endian number of `N` bytes.
fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let digits = bytes.get(at..at.checked_add(N)?)?;
    Some(digits.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF header with one program header and, behind it, one dynamic entry.
    fn program(kind: u32, tag: u64) -> Vec<u8> {
        let mut elf = vec![0; 64 + 56 + 32];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[32] = 64;
        elf[54] = 56;
        elf[56] = 1;
        elf[64..68].copy_from_slice(&kind.to_le_bytes());
        elf[64 + 8] = 120;
        elf[64 + 32] = 32;
        elf[120..128].copy_from_slice(&tag.to_le_bytes());
        elf
    }

    #[test]
    fn a_loader_and_a_library_are_seen() {
        assert_eq!(needs(&program(PT_INTERP, 0)), Some(vec!["an interpreter (PT_INTERP)"]));
        assert_eq!(needs(&program(PT_DYNAMIC, DT_NEEDED)), Some(vec!["a library to load (DT_NEEDED)"]));
        assert_eq!(needs(&program(PT_DYNAMIC, 6)), Some(vec![]));
        assert_eq!(needs(&program(1, DT_NEEDED)), Some(vec![]));
    }

    #[test]
    fn what_is_no_program_is_no_static_program() {
        assert_eq!(needs(b"#!/bin/sh\n"), None);
        assert_eq!(needs(&program(PT_INTERP, 0)[..80]), None);
    }

    #[test]
    fn this_very_test_is_static() -> Result<()> {
        check_static(&std::env::current_exe()?)
    }
}
