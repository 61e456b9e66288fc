//! The directories in which rustbox keeps records and leases.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};

use super::{Need, Verdict};
use crate::config::Settings;

const OTHERS_WRITE: u32 = 0o022;

pub(super) fn places(settings: &Settings) -> Vec<Need> {
    let directories =
        [place("state directory", &settings.state_dir), place("runtime directory", &settings.runtime_dir)];
    directories.into_iter().chain([start(settings)]).collect()
}

/// What the boxes of this host begin from.
fn start(settings: &Settings) -> Need {
    let required = "nothing; after `rustbox prepare` a run costs the same however many mounts and processes there are";
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").map(|text| text.lines().count());
    let found = match mounts {
        _ if rustbox_supervisor::is_prepared(&settings.places()) => "an empty mount namespace".to_owned(),
        Ok(mounts) => format!("a copy of the {mounts} mounts of this host"),
        Err(_) => "a copy of the mounts of this host".to_owned(),
    };
    Need::new("boxes begin from", Verdict::Info, found, required)
}

fn place(name: &str, path: &Path) -> Need {
    const REQUIRED: &str = "a directory of root's that nobody else can write, not a symbolic link";
    let shown = path.display();
    let meta = match std::fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return absent(name, path, REQUIRED),
        Err(e) => return Need::new(name, Verdict::Unknown, format!("{shown}: {e}"), REQUIRED),
    };
    let fail = |why: &str, fix: String| Need::new(name, Verdict::Fail, format!("{shown}: {why}"), REQUIRED).fix(&fix);
    if !meta.is_dir() {
        return fail("a symbolic link or file", format!("move it away, or choose another place with --{}", flag(name)));
    }
    if meta.uid() != 0 {
        return fail(&format!("owned by uid {}", meta.uid()), format!("chown root {shown}"));
    }
    if meta.mode() & OTHERS_WRITE != 0 {
        return fail(&format!("mode {:04o}", meta.mode() & 0o7777), format!("chmod go-w {shown}"));
    }
    match try_writing(path) {
        Ok(()) => Need::new(name, Verdict::Pass, format!("{shown}: a file can be made in it"), REQUIRED),
        Err(e) => fail(&e.to_string(), format!("make {shown} writable for root: mount -o remount,rw, or free space")),
    }
}

fn flag(name: &str) -> &'static str {
    if name.starts_with("state") { "state-dir" } else { "runtime-dir" }
}

/// It is made at the first run, below the nearest directory that is there.
fn absent(name: &str, path: &Path, required: &str) -> Need {
    let nearest: Option<PathBuf> = path.ancestors().skip(1).find(|dir| dir.is_dir()).map(Path::to_owned);
    let shown = path.display();
    match nearest.as_deref().map(try_writing) {
        Some(Ok(())) => Need::new(name, Verdict::Pass, format!("{shown}: not there yet, can be made"), required),
        Some(Err(e)) => Need::new(name, Verdict::Fail, format!("{shown}: cannot be made: {e}"), required)
            .fix(&format!("choose another place with --{}", flag(name))),
        None => Need::new(name, Verdict::Unknown, format!("{shown}: no directory above it"), required),
    }
}

/// Makes a file without a name, which is gone when its descriptor is closed.
fn try_writing(directory: &Path) -> io::Result<()> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    match open(directory, flags, Mode::RUSR | Mode::WUSR) {
        Ok(_file) => Ok(()),
        // A file system without files that have no name: then the permission is all that can be asked.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR) => {
            Ok(rustix::fs::access(directory, rustix::fs::Access::WRITE_OK)?)
        }
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_place_that_others_could_change_fails() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        std::fs::create_dir(&path).unwrap();
        let set = |mode| std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        set(0o755);
        let as_root = rustix::process::geteuid().is_root();
        assert_eq!(place("state directory", &path).verdict == Verdict::Pass, as_root);
        set(0o777);
        assert_eq!(place("state directory", &path).verdict, Verdict::Fail);
        let link = dir.path().join("link");
        symlink(&path, &link).unwrap();
        assert_eq!(place("state directory", &link).verdict, Verdict::Fail);
        assert_eq!(place("state directory", &dir.path().join("new/deep")).verdict, Verdict::Pass);
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0, "the probe leaves nothing");
    }
}
