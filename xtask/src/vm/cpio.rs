//! Writes the archive that the kernel unpacks as its first root: "newc" of `initramfs/buffer-format.rst`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

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

    /// Writes the whole archive. Sorted names put every directory before what is in it.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        for (index, (path, node)) in (1..).zip(&self.nodes) {
            let read;
            let (mode, data, device): (u32, &[u8], _) = match node {
                Node::Directory => (0o040_755, &[], (0, 0)),
                Node::Program(data) => (0o100_755, data, (0, 0)),
                Node::Text(data) => (0o100_644, data, (0, 0)),
                Node::Copy(source) => {
                    read = fs::read(source)?;
                    (0o100_755, &read, (0, 0))
                }
                Node::Link(target) => (0o120_777, target.as_bytes(), (0, 0)),
                Node::Device(major, minor) => (0o020_600, &[], (*major, *minor)),
            };
            entry(out, path, (index, mode, device), data)?;
        }
        entry(out, "TRAILER!!!", (0, 0, (0, 0)), &[])
    }
}

fn entry(
    out: &mut impl Write,
    path: &str,
    (inode, mode, device): (u32, u32, (u32, u32)),
    data: &[u8],
) -> io::Result<()> {
    let too_large = |_| io::Error::new(io::ErrorKind::FileTooLarge, path.to_owned());
    let size = u32::try_from(data.len()).map_err(too_large)?;
    let name = u32::try_from(path.len() + 1).map_err(too_large)?;
    // Inode, mode, uid, gid, links, time, size, device of the file system (two), of the node (two), name, checksum.
    let fields = [inode, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name, 0];
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
