//! A path of a keeper's, in which the name of a box can be exchanged for another one without allocation.

use std::ffi::CStr;
use std::ops::Deref;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Its bytes, with a NUL at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeeperPath(Vec<u8>);

impl From<PathBuf> for KeeperPath {
    fn from(path: PathBuf) -> Self {
        let mut bytes = path.into_os_string().into_vec();
        bytes.push(0);
        Self(bytes)
    }
}

/// Of a path with another NUL in it, which is none of ours: they were opened already, or are made of a checked id. An
/// empty one names nothing.
impl Deref for KeeperPath {
    type Target = CStr;

    fn deref(&self) -> &CStr {
        CStr::from_bytes_with_nul(&self.0).unwrap_or_default()
    }
}

impl KeeperPath {
    /// Exchanges the last `old`, which is what is below directories that boxes share, for a `new` that is as long.
    pub(crate) fn rename(&mut self, old: &[u8], new: &[u8]) {
        let Some(at) = self.0.windows(old.len().max(1)).rposition(|window| window == old) else { return };
        if let Some(place) = self.0.get_mut(at..at + old.len()).filter(|place| place.len() == new.len()) {
            place.copy_from_slice(new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_name_is_exchanged_and_nothing_else() {
        let mut path = KeeperPath::from(PathBuf::from("/abc/rustbox-abc/x"));
        path.rename(b"abc", b"def");
        assert_eq!(&*path, c"/abc/rustbox-def/x");
        path.rename(b"zzz", b"abc");
        path.rename(b"def", b"longer");
        path.rename(b"", b"");
        assert_eq!(&*path, c"/abc/rustbox-def/x");
        assert_eq!(&*KeeperPath::from(PathBuf::from("/a\0b")), c"");
    }
}
