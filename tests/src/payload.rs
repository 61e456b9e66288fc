//! The payloads of `tests/adversarial`: built next to their sources, when they are older.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What a payload returns when it is started bare; it has then done nothing.
pub const NOT_IN_BOX: i32 = 92;

/// What `$CC` is called with: static, so that a payload needs nothing of the root that it runs in.
const FLAGS: [&str; 6] = ["-static", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread"];

/// Directory of the built payloads; `RUSTBOX_PAYLOADS` names it where there is no compiler.
pub fn payload_dir() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| match std::env::var_os("RUSTBOX_PAYLOADS") {
        Some(path) => PathBuf::from(path),
        None => {
            let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("adversarial");
            build_all(&directory);
            directory
        }
    })
}

/// Path of one built payload.
///
/// # Panics
/// When there is no such payload.
#[must_use]
pub fn payload(name: &str) -> PathBuf {
    let path = payload_dir().join(name);
    assert!(path.is_file(), "no payload {}", path.display());
    path
}

fn build_all(directory: &Path) {
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let header = modified(&directory.join("attack.h"));
    for entry in std::fs::read_dir(directory).expect("tests/adversarial") {
        let source = entry.expect("tests/adversarial").path();
        if source.extension().is_none_or(|e| e != "c") {
            continue;
        }
        let binary = source.with_extension("");
        if modified(&binary) > modified(&source).max(header) {
            continue;
        }
        // Under a name of its own first: another test process may be building, or running, the same one.
        let fresh = source.with_extension(format!("new-{}", std::process::id()));
        let mut call = Command::new(&compiler);
        let status = call.args(FLAGS).arg(&source).arg("-o").arg(&fresh).status();
        let status = status.unwrap_or_else(|e| panic!("a C compiler is needed for the payloads: {call:?}: {e}"));
        assert!(status.success(), "{call:?}");
        std::fs::rename(&fresh, &binary).expect("rename a built payload");
    }
}

fn modified(path: &Path) -> Option<std::time::SystemTime> {
    std::fs::metadata(path).and_then(|m| m.modified()).ok()
}
