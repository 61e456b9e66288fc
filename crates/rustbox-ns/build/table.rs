//! The kernel's system call table of one architecture.

use std::fs;

use crate::BuildError;

/// Numbers and names, by number.
pub(crate) struct CallTable {
    calls: Vec<(u32, String)>,
}

impl CallTable {
    /// Reads `build/syscalls_<arch>.txt`: a number and a name per line, ascending, `#` begins a comment.
    pub(crate) fn read(arch: &str) -> Result<Self, BuildError> {
        let path = format!("build/syscalls_{arch}.txt");
        let text = fs::read_to_string(&path).map_err(|source| BuildError::ReadTable { path: path.clone(), source })?;
        let mut calls: Vec<(u32, String)> = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let call = line
                .split_once(' ')
                .and_then(|(number, name)| Some((number.parse().ok()?, name.to_owned())))
                .filter(|(number, _)| calls.last().is_none_or(|(last, _)| last < number));
            calls.push(call.ok_or_else(|| BuildError::MalformedTable { path: path.clone(), line: line.to_owned() })?);
        }
        Ok(Self { calls })
    }

    pub(crate) fn calls(&self) -> impl Iterator<Item = (u32, &str)> {
        self.calls.iter().map(|(number, name)| (*number, name.as_str()))
    }

    pub(crate) fn number(&self, call: &str) -> Option<u32> {
        self.calls().find_map(|(number, name)| (name == call).then_some(number))
    }
}
