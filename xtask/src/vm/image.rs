//! Puts the guest's files together.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use super::cpio::{Archive, Node};
use super::{Job, boot, kernel};
use crate::workspace::{Executable, Role};
use crate::{command, payloads};

/// The guest's root file system, and the word that marks the line with its exit code.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) path: PathBuf,
    pub(super) marker: String,
    /// Further words for the kernel.
    pub(super) append: &'static str,
}

/// Enough of `/etc` for programs that ask for a user's or a host's name.
const ETC: &[(&str, &str)] = &[
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"),
    ("etc/group", "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"),
    ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
];

/// Debian's merged layout, on which a box's default root is built.
const LINKS: &[(&str, &str)] = &[("bin", "usr/bin"), ("sbin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")];

/// The one program of busybox's that it cannot stand in for.
const CAT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/vm/cat.c");

/// Where the guest has the programs of the proof.
const PROOF: &str = "/guest/debug/containment-proof";
const PEN: &str = "/guest/debug/containment-pen";

/// Where the guest has the rustbox that must fail.
const PLANTED: &str = "guest/rustbox-planted";

/// Variables that tests read, with the value that the guest gets if we have none: an emulated CPU is ten times
/// slower, and the host runs the full numbers.
const VARIABLES: &[(&str, Option<&str>)] = &[
    ("CI", None),
    ("RUSTBOX_CI", None),
    ("RUSTBOX_ATTACKS_BY_PROOF", None),
    ("RUSTBOX_SEED", None),
    ("RUSTBOX_KILLS", Some("150")),
    ("RUSTBOX_RACE_SPAWNS", Some("100")),
    ("RUSTBOX_LEAK_RUNS", Some("60")),
];

/// Writes the archive into `directory`.
pub(super) fn write(directory: &Path, job: &Job, rustbox: &Path, attacks: &[PathBuf]) -> Result<Image> {
    let marker = marker()?;
    let mut archive = Archive::default();
    add_system(&mut archive, &kernel::busybox(directory)?)?;
    let cat = directory.join("cat");
    payloads::compile(Path::new(CAT), &cat)?;
    archive.add("usr/bin/cat", Node::Copy(cat));
    archive.add("usr/bin/rustbox", Node::Copy(rustbox.to_owned()));
    archive.add("payloads", Node::Directory);
    for payload in attacks {
        let name = payload.file_name().unwrap_or_default().to_string_lossy();
        archive.add(&format!("payloads/{name}"), Node::Copy(payload.clone()));
    }
    archive.add("guest/environment", Node::Text(environment().into_bytes()));
    archive.add("guest/job", Node::Text(script(job, &marker).into_bytes()));
    if let Job::Tests { programs, planted } | Job::Proof { programs, planted, .. } = job {
        let mut add = |guest: &str, host: &Path| -> Result<()> {
            archive.add(guest, Node::Copy(stripped(directory, host, guest)?));
            Ok(())
        };
        if let Some(planted) = planted {
            add(PLANTED, planted)?;
        }
        for program in programs {
            add(&guest_path(program), &program.path)?;
        }
    }
    let path = directory.join("initramfs");
    save(&archive, &path)?;
    Ok(Image { path, marker, append: "" })
}

/// Writes an archive to a file.
pub(super) fn save(archive: &Archive, path: &Path) -> Result<()> {
    let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
    let mut out = BufWriter::new(file);
    archive.write(&mut out).and_then(|()| out.flush()).with_context(|| format!("write {}", path.display()))
}

fn add_system(archive: &mut Archive, busybox: &Path) -> Result<()> {
    archive.add("usr/lib", Node::Directory);
    archive.add("usr/lib64", Node::Directory);
    for (link, target) in LINKS {
        archive.add(link, Node::Link((*target).to_owned()));
    }
    archive.add("usr/bin/busybox", Node::Copy(busybox.to_owned()));
    for applet in command::output(Command::new(busybox).arg("--list"))?.lines().filter(|name| *name != "busybox") {
        archive.add(&format!("usr/bin/{applet}"), Node::Link("busybox".to_owned()));
    }
    for (path, text) in ETC {
        archive.add(path, Node::Text(text.as_bytes().to_vec()));
    }
    // The kernel opens it for pid 1 before anything is mounted.
    archive.add("dev/console", Node::Device(5, 1));
    archive.add("init", Node::Program(include_bytes!("first-init.sh").to_vec()));
    archive.add("guest/init", Node::Program(include_bytes!("guest-init.sh").to_vec()));
    Ok(())
}

/// A word that no payload can know beforehand.
pub(super) fn marker() -> Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    Ok(format!("rustbox-vm-{:x}", now.as_nanos()))
}

fn environment() -> String {
    let mut text = String::from("export RUSTBOX_VM=1 RUSTBOX_BIN=/usr/bin/rustbox RUSTBOX_PAYLOADS=/payloads\n");
    text.push_str(&format!("export RUSTBOX_PLANTED_BIN=/{PLANTED}\n"));
    for (name, guest) in VARIABLES {
        if let Some(value) = std::env::var(name).ok().as_deref().or(*guest) {
            text.push_str(&format!("export {name}={}\n", quoted(value)));
        }
    }
    text
}

/// What pid 1 does, as a shell text that ends by printing the exit code behind the marker.
fn script(job: &Job, marker: &str) -> String {
    match job {
        Job::Command(words) => {
            let words: Vec<_> = words.iter().map(|word| quoted(word)).collect();
            format!("{}\necho {marker} $?\n", words.join(" "))
        }
        Job::Tests { programs, .. } => {
            let mut text = String::from("failed=0\n");
            for program in programs.iter().filter(|program| program.role == Role::Test) {
                text.push_str(&format!("echo; echo '== {}'\n/{} || failed=1\n", program.name, guest_path(program)));
            }
            text.push_str(&format!("echo {marker} $failed\n"));
            text
        }
        Job::Proof { arguments, .. } => {
            let fixed = ["run", "--out", "/root/proof", "--jobs", "2", "--print-behind", &boot::told(marker)];
            let words: Vec<_> = fixed.into_iter().chain(arguments.iter().map(String::as_str)).map(quoted).collect();
            format!("export RUSTBOX_PEN={PEN}\n{PROOF} {}\necho {marker} $?\n", words.join(" "))
        }
    }
}

/// A word that the shell takes as it is.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Where cargo would have put it: tests look for their package's binaries in the directory above their own.
pub(super) fn guest_path(program: &Executable) -> String {
    // A test's file carries a hash, so that two packages may have tests of one name.
    let file = program.path.file_name().unwrap_or_default().to_string_lossy();
    match program.role {
        Role::Binary => format!("guest/debug/{file}"),
        Role::Test => format!("guest/debug/deps/{file}"),
    }
}

/// The program without its symbols: a tenth of the size, and the guest's root is in memory.
fn stripped(directory: &Path, program: &Path, guest_path: &str) -> Result<PathBuf> {
    let target = directory.join(guest_path);
    let parent = target.parent().unwrap_or(directory);
    fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    command::run(Command::new("strip").arg("-o").arg(&target).arg(program))?;
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_reaches_the_guest_word_by_word() {
        let job = Job::Command(["sh", "-c", "echo \"it's\" $HOME"].map(str::to_owned).to_vec());
        assert_eq!(script(&job, "M"), "'sh' '-c' 'echo \"it'\\''s\" $HOME'\necho M $?\n");
    }
}
