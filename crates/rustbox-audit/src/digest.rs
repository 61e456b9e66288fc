//! SHA-256 of what an accused process executes: the one fact about a payload that it cannot argue away.

use std::fs::File;
use std::io::Read;

use rustbox_core::Finding;
use sha2::{Digest, Sha256};

use crate::parse::parse_stat;
use crate::proc_root::ProcRoot;
use crate::reading::ProcFile;

/// Longest executable that is read, in bytes. An accused process is not to hold up its own end.
const EXE_BYTES_MAX: u64 = 256 << 20;
/// A FUSE file system, `FUSE_SUPER_MAGIC` of linux/magic.h: its server may be a payload, which never answers a read.
const FUSE_SUPER_MAGIC: u64 = 0x6573_5546;
/// Processes whose executables are read: a fork bomb has one executable, many times.
const PROCESSES_MAX: usize = 16;

/// Adds the digest to the first findings about living processes, while they can still be read.
pub(crate) fn add_digests(root: &ProcRoot, findings: &mut [Finding]) {
    let accused = findings.iter_mut().filter(|finding| finding.kind.is_violation());
    for finding in accused.take(PROCESSES_MAX) {
        finding.exe_sha256 = digest(root, finding);
    }
}

/// Reads through the process's directory, and only if it still is the process of the finding.
fn digest(root: &ProcRoot, finding: &Finding) -> Option<String> {
    let key = finding.process?;
    let directory = root.open_process(key.pid).ok()?;
    let mut text = Vec::new();
    directory.read(ProcFile::Stat, &mut text).ok()?;
    let (stat, _) = parse_stat(&text)?;
    if stat.starttime_ticks != key.starttime_ticks {
        return None;
    }
    let exe = directory.open_exe().ok()?;
    let stat = rustix::fs::fstatfs(&exe).ok()?;
    if u64::try_from(stat.f_type) == Ok(FUSE_SUPER_MAGIC) {
        return None;
    }
    let mut exe = File::from(exe).take(EXE_BYTES_MAX + 1);
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    let mut length = 0_u64;
    loop {
        let count = exe.read(&mut buffer).ok()?;
        if count == 0 {
            break;
        }
        length += u64::try_from(count).ok()?;
        hasher.update(buffer.get(..count)?);
    }
    (length <= EXE_BYTES_MAX).then(|| hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
