//! Writes the archive that the kernel unpacks as its first root: "newc" of `initramfs/buffer-format.rst`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// One name in the archive.
#[derive(Debug)]
pub(super) enum Node {
    Directory,
    /// A program or text, with execute permission.
    Program(Vec<u8>),
    /// A text without.
    Text(Vec<u8>),
    /// A file of the host, read only when the archive is written.
    Copy(PathBuf),
    /// The same with its own kind, mode and owner.
    Found(PathBuf),
    Link(String),
    /// A character device: major, minor.
    Device(u32, u32),
}

/// A tree of files; a directory exists as soon as something in it does.
#[derive(Debug, Default)]
pub(super) struct Archive {
    nodes: BTreeMap<String, Node>,
}

impl Archive {
    /// Adds a name, such as `usr/bin/sh`, and the directories above it.
    pub(super) fn add(&mut self, path: &str, node: Node) {
        for (at, _) in path.match_indices('/') {
            self.nodes.entry(path[..at].to_owned()).or_insert(Node::Directory);
        }
        self.nodes.insert(path.to_owned(), node);
    }

    /// Adds everything below a directory of the host. Sockets, pipes and devices are left out.
    pub(super) fn add_tree(&mut self, root: &Path) -> io::Result<()> {
        let mut directories = vec![root.to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(&directory)? {
                let (path, kind) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))?;
                let Some(name) = path.strip_prefix(root).ok().and_then(Path::to_str) else {
                    return Err(io::Error::new(io::ErrorKind::InvalidFilename, path.display().to_string()));
                };
                if kind.is_dir() || kind.is_file() || kind.is_symlink() {
                    self.add(name, Node::Found(path.clone()));
                }
                if kind.is_dir() {
                    directories.push(path);
                }
            }
        }
        Ok(())
    }

    /// Writes the whole archive. Sorted names put every directory before what is in it.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        for (index, (path, node)) in (1..).zip(&self.nodes) {
            let read;
            let head = |mode| Head { index, mode, owner: (0, 0), device: (0, 0) };
            let (head, data): (Head, &[u8]) = match node {
                Node::Directory => (head(0o040_755), &[]),
                Node::Program(data) => (head(0o100_755), data),
                Node::Text(data) => (head(0o100_644), data),
                Node::Copy(source) => {
                    read = fs::read(source)?;
                    (head(0o100_755), &read)
                }
                Node::Found(source) => {
                    let found = fs::symlink_metadata(source)?;
                    read = content(source, &found)?;
                    (Head { owner: (found.uid(), found.gid()), ..head(found.mode()) }, &read)
                }
                Node::Link(target) => (head(0o120_777), target.as_bytes()),
                Node::Device(major, minor) => (Head { device: (*major, *minor), ..head(0o020_600) }, &[]),
            };
            entry(out, path, head, data)?;
        }
        entry(out, "TRAILER!!!", Head { index: 0, mode: 0, owner: (0, 0), device: (0, 0) }, &[])
    }
}

/// What stands before the content of a file.
struct Head {
    index: u32,
    /// Kind and mode.
    mode: u32,
    /// User and group.
    owner: (u32, u32),
    /// Major and minor number, of a device.
    device: (u32, u32),
}

/// A file's bytes, where a link points to, and nothing of a directory.
fn content(source: &Path, found: &fs::Metadata) -> io::Result<Vec<u8>> {
    if found.is_dir() {
        Ok(Vec::new())
    } else if found.is_symlink() {
        fs::read_link(source).map(|target| target.into_os_string().into_vec())
    } else {
        fs::read(source)
    }
}

fn entry(out: &mut impl Write, path: &str, head: Head, data: &[u8]) -> io::Result<()> {
    let too_large = |_| io::Error::new(io::ErrorKind::FileTooLarge, path.to_owned());
    let size = u32::try_from(data.len()).map_err(too_large)?;
    let name = u32::try_from(path.len() + 1).map_err(too_large)?;
    let Head { index, mode, owner, device } = head;
    // Inode, mode, uid, gid, links, time, size, device of the file system (two), of the node (two), name, checksum.
    let fields = [index, mode, owner.0, owner.1, 1, 0, size, 0, 0, device.0, device.1, name, 0];
    let mut header = String::from("070701");
    for field in fields {
        header.push_str(&format!("{field:08X}"));
    }
    out.write_all(header.as_bytes())?;
    out.write_all(path.as_bytes())?;
    // The name ends with a NUL; name and data each end at a multiple of four.
    let header_length = header.len() + path.len();
    out.write_all(&[0; 4][..4 - header_length % 4])?;
    out.write_all(data)?;
    out.write_all(&[0; 3][..(4 - data.len() % 4) % 4])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpio_tool_of_the_kernel_would_read_this() -> io::Result<()> {
        let mut archive = Archive::default();
        archive.add("bin/a", Node::Program(b"hello".to_vec()));
        let mut bytes = Vec::new();
        archive.write(&mut bytes)?;
        // Each entry begins at a multiple of four, and directories come before their files.
        let starts: Vec<_> = bytes.windows(6).enumerate().filter(|(_, w)| w == b"070701").map(|(at, _)| at).collect();
        assert_eq!(starts.len(), 3);
        assert!(starts.iter().all(|at| at % 4 == 0), "{starts:?}");
        assert!(bytes[starts[0] + 110..].starts_with(b"bin\0"));
        assert!(bytes[starts[1] + 110..].starts_with(b"bin/a\0hello\0"), "{:?}", &bytes[starts[1] + 110..][..16]);
        assert!(bytes[starts[2] + 110..].starts_with(b"TRAILER!!!\0"));
        Ok(())
    }
}
