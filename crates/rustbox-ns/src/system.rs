//! What a box shows of the host's system, for programs to work at all.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::root_plan::{Kind, Missing, c};

/// Host directories that programs are made of. On most systems all but the first are symlinks.
const DIRECTORIES: [&str; 7] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];
/// Files and directories of the host's `/etc` that compilers and runtimes need, and that hold
/// nothing private: where links of alternatives lead, the library cache, certificates, time zone.
const ETC_NAMES: [(&str, Kind); 7] = [
    ("alternatives", Kind::Directory),
    ("ca-certificates", Kind::Directory),
    ("ld.so.cache", Kind::File),
    ("localtime", Kind::File),
    ("pki", Kind::Directory),
    ("ssl", Kind::Directory),
    ("crypto-policies", Kind::Directory),
];
/// Debian keeps the configuration of each Java here, and the runtime does not start without it.
const ETC_JAVA_PREFIX: &str = "java-";

/// The parts of the host's system that a box shows, as they were when somebody looked.
#[derive(Clone, Debug)]
pub struct System {
    /// Links at the root, each with what it says.
    pub(crate) links: Vec<(&'static str, CString)>,
    /// Directories at the root; then what there is in `/etc`.
    pub(crate) shown: Vec<Shown>,
}

/// A path that is the same in the box.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) path: PathBuf,
    pub(crate) kind: Kind,
    pub(crate) missing: Missing,
}

impl System {
    /// Looks.
    ///
    /// # Errors
    /// A directory of the host that is there and cannot be read.
    pub fn look() -> Result<Self, Error> {
        let mut system = Self { links: Vec::new(), shown: Vec::new() };
        for name in DIRECTORIES {
            let path = Path::new("/").join(name);
            match fs::read_link(&path) {
                Ok(target) => system.links.push((name, c(target)?)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                // EINVAL: it is no symlink.
                Err(error) if error.kind() != std::io::ErrorKind::InvalidInput => {
                    return Err(Error::Look { path, source: error });
                }
                Err(_) => system.shown.push(Shown { path, kind: Kind::Directory, missing: Missing::Fail }),
            }
        }
        system.etc()?;
        Ok(system)
    }

    /// What the box sees of the host's `/etc`: one listing tells what is there.
    fn etc(&mut self) -> Result<(), Error> {
        let failed = |source| Error::Look { path: "/etc".into(), source };
        for entry in fs::read_dir("/etc").map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let known = ETC_NAMES.iter().find(|(known, _)| name.as_bytes() == known.as_bytes());
            let usual = match known {
                Some((_, kind)) => *kind,
                None if name.as_bytes().starts_with(ETC_JAVA_PREFIX.as_bytes()) => Kind::Directory,
                None => continue,
            };
            // A symlink is followed, so what it is says nothing.
            let kind = match entry.file_type() {
                Ok(found) if found.is_dir() => Kind::Directory,
                Ok(found) if found.is_file() => Kind::File,
                _ => usual,
            };
            self.shown.push(Shown { path: entry.path(), kind, missing: Missing::Skip });
        }
        Ok(())
    }
}
