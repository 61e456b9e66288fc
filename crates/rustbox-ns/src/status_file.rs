//! `/proc/<pid>/status`, read without allocating: what the kernel says of a process's powers.

/// Longest status file that is read, in bytes. It grows with supplementary groups, and a process
/// that still has many of those does not pass anyway.
pub(crate) const STATUS_BYTES: usize = 4096;

/// The lines that decide whether a process may become a payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StatusFile {
    /// Real, effective, saved and file system uid.
    pub(crate) uids: [u32; 4],
    /// The same of gids.
    pub(crate) gids: [u32; 4],
    /// Whether there is any supplementary group.
    pub(crate) groups: bool,
    /// Inheritable, permitted, effective, bounding and ambient capabilities.
    pub(crate) capabilities: [u64; 5],
    /// `NoNewPrivs`.
    pub(crate) no_new_privs: u32,
    /// `Seccomp`: 0 off, 1 strict, 2 filter.
    pub(crate) seccomp: u32,
    /// `SigIgn`, bit n-1 for signal n.
    pub(crate) ignored: u64,
    /// `SigBlk`, likewise.
    pub(crate) blocked: u64,
    /// `Umask`, since Linux 4.7.
    pub(crate) umask: u32,
}

fn numbers(text: &[u8]) -> Option<[u32; 4]> {
    let mut found = [0; 4];
    let mut parts = text.split(u8::is_ascii_whitespace).filter(|part| !part.is_empty());
    for number in &mut found {
        *number = str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    }
    parts.next().is_none().then_some(found)
}

fn hex(text: &[u8]) -> Option<u64> {
    u64::from_str_radix(str::from_utf8(text).ok()?, 16).ok()
}

impl StatusFile {
    /// Parses the file; none unless every line that decides is there exactly once. The name of
    /// the process is on the first line, where the kernel escapes newlines (`fs/proc/array.c`).
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let mut status = Self::default();
        let mut seen = 0_u32;
        for line in text.split(|byte| *byte == b'\n') {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let (key, value) = (line.get(..colon)?, line.get(colon + 1..)?.trim_ascii());
            let bit = match key {
                b"Uid" => {
                    status.uids = numbers(value)?;
                    0
                }
                b"Gid" => {
                    status.gids = numbers(value)?;
                    1
                }
                b"Groups" => {
                    status.groups = !value.is_empty();
                    2
                }
                b"SigIgn" => {
                    status.ignored = hex(value)?;
                    3
                }
                b"CapInh" => {
                    status.capabilities[0] = hex(value)?;
                    4
                }
                b"CapPrm" => {
                    status.capabilities[1] = hex(value)?;
                    5
                }
                b"CapEff" => {
                    status.capabilities[2] = hex(value)?;
                    6
                }
                b"CapBnd" => {
                    status.capabilities[3] = hex(value)?;
                    7
                }
                b"CapAmb" => {
                    status.capabilities[4] = hex(value)?;
                    8
                }
                b"NoNewPrivs" => {
                    status.no_new_privs = str::from_utf8(value).ok()?.parse().ok()?;
                    9
                }
                b"Seccomp" => {
                    status.seccomp = str::from_utf8(value).ok()?.parse().ok()?;
                    10
                }
                b"SigBlk" => {
                    status.blocked = hex(value)?;
                    11
                }
                b"Umask" => {
                    status.umask = u32::from_str_radix(str::from_utf8(value).ok()?, 8).ok()?;
                    12
                }
                _ => continue,
            };
            if seen & (1 << bit) != 0 {
                return None;
            }
            seen |= 1 << bit;
        }
        (seen == 0x1fff).then_some(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: &[u8] = b"Name:\tcat\nUmask:\t0022\nState:\tR (running)\nTgid:\t7\nUid:\t70001\t70001\t70001\t70001\n\
Gid:\t70001\t70001\t70001\t70001\nFDSize:\t64\nGroups:\t \nSigQ:\t0/96000\nSigPnd:\t0000000000000000\n\
SigBlk:\t0000000000010000\nSigIgn:\t0000000000001000\nCapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n\
CapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n";

    #[test]
    fn a_real_file_is_understood() {
        let status = StatusFile::parse(REAL).unwrap();
        assert_eq!(status.uids, [70001; 4]);
        assert_eq!((status.groups, status.capabilities, status.no_new_privs, status.seccomp), (false, [0; 5], 1, 2));
        assert_eq!((status.ignored, status.blocked, status.umask), (0x1000, 0x10000, 0o022));
    }

    #[test]
    fn a_file_cut_anywhere_before_its_last_line_is_refused() {
        let needed = REAL.windows(8).position(|w| w == b"Seccomp:").unwrap();
        for end in 0..=needed + 8 {
            assert_eq!(StatusFile::parse(&REAL[..end]), None, "{end}");
        }
    }

    #[test]
    fn a_line_that_comes_twice_is_refused() {
        let mut doubled = REAL.to_vec();
        doubled.extend_from_slice(b"NoNewPrivs:\t0\n");
        assert_eq!(StatusFile::parse(&doubled), None);
    }
}
