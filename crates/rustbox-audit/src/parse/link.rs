//! The target of `/proc/<pid>/ns/pid`.

use super::number;

/// The inode number in `pid:[4026531836]`: the name of a namespace until its last reference is gone.
///
/// The kernel hands a number out again at once, so alone it says nothing about a namespace that may have ended.
#[must_use]
pub fn parse_namespace_link(target: &[u8]) -> Option<u64> {
    number(target.strip_prefix(b"pid:[")?.strip_suffix(b"]")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_pid_namespace_has_a_number() {
        assert_eq!(parse_namespace_link(b"pid:[4026531836]"), Some(4_026_531_836));
        for bad in [&b"pid:[]"[..], b"pid:[-1]", b"mnt:[4026531836]", b"pid:[4026531836", b"", b"pid:[1 ]"] {
            assert_eq!(parse_namespace_link(bad), None, "{}", bad.escape_ascii());
        }
    }
}
