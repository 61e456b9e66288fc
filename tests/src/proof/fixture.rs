//! What the host offers to an attack: sockets, files, processes. Each tells afterwards whether it was touched.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::table::Fixture;
use crate::canary::Canary;
use crate::lab::Lab;
use crate::payload::payload;

/// The uid of the stranger; `containment-pen --uid 79998` makes a payload its equal.
const STRANGER_UID: u32 = 79_998;

/// Variables of rustbox's that hold a secret.
const SECRETS: usize = 200;

/// The secret; no payload may print it.
const SECRET: &str = "swordfish";

/// What the fixtures of one attack gave.
#[derive(Debug, Default)]
pub(super) struct Offered {
    words: BTreeMap<&'static str, String>,
    /// Words before `rustbox`.
    pub(super) wrapper: Vec<String>,
    /// Whether another run of the payload has to be beside it.
    pub(super) beside: bool,
    guards: Vec<Guard>,
}

/// Something that is not to be touched by a box.
#[derive(Debug)]
enum Guard {
    Tcp(TcpListener),
    Unix(UnixListener),
    File(PathBuf, Mark),
    Canary(Canary),
    Stranger(Child),
    Secrets,
    Terminal,
}

/// Inode, mode, modification time and content of a file.
type Mark = (u64, u32, i64, i64, Vec<u8>);

impl Offered {
    /// Makes everything, in the lab's directory where it is a file.
    pub(super) fn make(fixtures: &[Fixture], name: &str, lab: &Lab, box_id: &str) -> Self {
        let mut offered = Self::default();
        let open = PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(lab.path(), open).expect("open the lab's directory");
        for fixture in fixtures {
            offered.add(*fixture, name, lab, box_id);
        }
        offered
    }

    fn add(&mut self, fixture: Fixture, name: &str, lab: &Lab, box_id: &str) {
        match fixture {
            Fixture::Tcp => {
                let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
                listener.set_nonblocking(true).expect("nonblocking");
                self.words.insert("tcp", listener.local_addr().expect("an address").port().to_string());
                self.guards.push(Guard::Tcp(listener));
            }
            Fixture::Abstract => {
                let name = format!("containment-{box_id}");
                let address = SocketAddr::from_abstract_name(&name).expect("an address");
                self.listen(UnixListener::bind_addr(&address).expect("bind"));
                self.words.insert("abstract", name);
            }
            Fixture::Socket => {
                let path = lab.path().join("socket");
                let _old = std::fs::remove_file(&path);
                self.listen(UnixListener::bind(&path).expect("bind"));
                std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).expect("chmod");
                self.words.insert("socket", path.display().to_string());
            }
            Fixture::CanaryFile => {
                let path = lab.path().join("canary");
                std::fs::write(&path, "CANARY\n").expect("write");
                std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).expect("chmod");
                self.words.insert("canary", path.display().to_string());
                self.guards.push(Guard::File(path.clone(), mark(&path)));
            }
            Fixture::Stranger => {
                let mut sleep = Command::new("/bin/sleep");
                let stranger = sleep.arg("60").uid(STRANGER_UID).stdin(Stdio::null()).spawn().expect("a stranger");
                self.words.insert("stranger", stranger.id().to_string());
                self.guards.push(Guard::Stranger(stranger));
            }
            Fixture::Victim => {
                let victim = Canary::start(box_id);
                self.words.insert("victim", victim.pid().to_string());
                self.guards.push(Guard::Canary(victim));
            }
            Fixture::SetuidCopy => {
                let copy = copied(name, lab, "setuid-copy", 0o6755);
                self.words.insert("setuid", copy.display().to_string());
            }
            Fixture::CapsCopy => {
                let copy = copied(name, lab, "caps-copy", 0o755);
                give_capabilities(&copy);
                self.words.insert("file-caps", copy.display().to_string());
            }
            Fixture::CarelessDescriptors => {
                let text = "exec 5</ 6</proc 7</sys/fs/cgroup 8</etc/passwd; exec \"$@\"";
                self.wrapper = ["/bin/sh", "-c", text, "sh"].map(str::to_owned).to_vec();
            }
            Fixture::Terminal => {
                let text = "exec script --quiet --return --command \"$*\" /dev/null";
                self.wrapper = ["/bin/sh", "-c", text, "sh"].map(str::to_owned).to_vec();
                self.guards.push(Guard::Terminal);
            }
            Fixture::Secrets => {
                self.wrapper.push("/usr/bin/env".to_owned());
                self.wrapper.extend((0..SECRETS).map(|i| format!("SECRET_{i}={SECRET}-{i}")));
                self.guards.push(Guard::Secrets);
            }
            Fixture::Beside => self.beside = true,
        }
    }

    fn listen(&mut self, listener: UnixListener) {
        listener.set_nonblocking(true).expect("nonblocking");
        self.guards.push(Guard::Unix(listener));
    }

    /// These words, with what the fixtures gave in place of `{word}`.
    pub(super) fn fill(&self, words: &[String]) -> Vec<String> {
        let fill = |word: &String| {
            self.words.iter().fold(word.clone(), |text, (name, given)| text.replace(&format!("{{{name}}}"), given))
        };
        words.iter().map(fill).collect()
    }

    /// What was touched from inside a box; to be asked before the control runs, which touches what it can.
    pub(super) fn objections(&self, stdout: &str) -> Vec<String> {
        self.guards.iter().filter_map(|guard| guard.objection(stdout)).collect()
    }
}

impl Guard {
    fn objection(&self, stdout: &str) -> Option<String> {
        match self {
            Self::Tcp(listener) => {
                listener.accept().is_ok().then(|| "somebody connected to the host's port".to_owned())
            }
            Self::Unix(listener) => {
                listener.accept().is_ok().then(|| "somebody connected to the host's socket".to_owned())
            }
            Self::File(path, before) => (mark(path) != *before).then(|| format!("{} was changed", path.display())),
            Self::Canary(canary) => (!canary.is_unharmed()).then(|| "a process of root's was harmed".to_owned()),
            Self::Stranger(child) => {
                let state = crate::process::SeenProcess::read(child.id()).map(|p| p.state);
                (!matches!(state, Some('S' | 'R' | 'D'))).then(|| format!("a stranger was harmed: state {state:?}"))
            }
            Self::Secrets => {
                stdout.contains(SECRET).then(|| "a secret of rustbox's environment was printed".to_owned())
            }
            Self::Terminal => stdout.contains("XX").then(|| "something was typed into the terminal".to_owned()),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Self::Stranger(child) = self {
            let _ended = (child.kill(), child.wait());
        }
    }
}

fn mark(path: &Path) -> Mark {
    let meta = std::fs::metadata(path).expect("a canary");
    (meta.ino(), meta.mode(), meta.mtime(), meta.mtime_nsec(), std::fs::read(path).expect("a canary"))
}

fn copied(name: &str, lab: &Lab, file: &str, mode: u32) -> PathBuf {
    let copy = lab.path().join(file);
    std::fs::copy(payload(name), &copy).expect("copy the payload");
    std::fs::set_permissions(&copy, PermissionsExt::from_mode(mode)).expect("chmod");
    copy
}

/// Every capability that one can have here, permitted and effective: revision 2 of `struct vfs_cap_data`. One more, and the
/// kernel would refuse the exec.
fn give_capabilities(path: &Path) {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc/self/status");
    let bounding = status.lines().find_map(|l| l.strip_prefix("CapBnd:")).expect("a bounding set");
    let all = u64::from_str_radix(bounding.trim(), 16).expect("a bounding set");
    let [low, high] = [all & u64::from(u32::MAX), all >> 32].map(|half| u32::try_from(half).expect("32 bits"));
    let words: [u32; 5] = [0x0200_0001, low, 0, high, 0];
    let value: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(path, "security.capability", &value, flags).expect("give file capabilities");
}
