//! What is read of one process, in which order, and what the answers mean. No I/O of its own.
//!
//! The reader of a file is a parameter: the live one reads through one descriptor of the process's
//! directory, so that all answers are of one process even when its pid is given away meanwhile; a test
//! or a replay answers from memory, and can let the process vanish between any two reads.
//!
//! ```text
//! every process:   ns/pid, sessionid, owner           a mark?  no: that is all
//! candidates:      stat, status, cgroup, exe, cmdline, stat again
//! ```
//!
//! The two `stat` are what makes the cgroup text believable. A task reads `/` before it is put into its cgroups, so
//! only a text that was read *after* a `stat` of a task that has run tells a place; and on cgroup v1 it reads `/` as soon
//! as the task exits, so only a text that was read *before* a `stat` without `PF_EXITING` does.

use rustbox_core::ProcessKey;

use crate::index::MarkIndex;
use crate::parse::{Stat, escaped, number, parse_cgroup, parse_namespace_link, parse_stat, parse_status, trimmed};
use crate::reading::{ProcFile, Reading, Unread};
use crate::snapshot::{Life, Observer, ProcessSeen, UnreadProcess};

/// The audit session id of a process that never had a login: `AUDIT_SID_UNSET` of linux/audit.h.
const SESSION_UNSET: u32 = u32::MAX;
/// Arguments that are kept of a command line: a hint for people needs no more.
const ARGV_KEPT: usize = 32;
/// Bytes that are kept of one argument, before escaping.
const ARG_BYTES_KEPT: usize = 256;

/// Reads one file of the process at hand into the buffer, which is empty.
pub(crate) type ReadFile<'a> = &'a mut dyn FnMut(ProcFile, &mut Vec<u8>) -> Reading<()>;
/// Climbs from the PID namespace of the process at hand, whose number is given, to the observer's:
/// the numbers passed, the first included, the last left out.
pub(crate) type Climb<'a> = &'a mut dyn FnMut(u64) -> Reading<Vec<u64>>;

/// What looking at one process gave.
#[derive(Debug)]
pub(crate) enum Observed {
    /// No mark of any box.
    Stranger,
    /// It ended meanwhile.
    Vanished,
    /// It has a mark.
    Candidate(Box<ProcessSeen>),
    /// It is there, and something that could attribute it could not be read.
    Unread(UnreadProcess),
}

/// The marks of a process, before anything else is read.
#[derive(Default)]
struct Marks {
    lineage: Vec<u64>,
    pid_namespace: Option<u64>,
    audit_session: Option<u32>,
    unread: Option<(ProcFile, Unread)>,
    is_candidate: bool,
}

/// Looks at one process.
pub(crate) fn observe(
    pid: u32,
    index: &MarkIndex,
    observer: &Observer,
    buffer: &mut Vec<u8>,
    read: ReadFile<'_>,
    climb: Climb<'_>,
) -> Observed {
    let marks = match read_marks(pid, index, observer, buffer, read, climb) {
        Ok(marks) => marks,
        Err(_vanished) => return Observed::Vanished,
    };
    if !marks.is_candidate {
        return match marks.unread {
            Some((file, why)) => Observed::Unread(UnreadProcess { pid, file, why }),
            None => Observed::Stranger,
        };
    }
    match read_detail(pid, marks, buffer, read) {
        Ok(process) => Observed::Candidate(Box::new(process)),
        Err((_, Unread::Vanished)) => Observed::Vanished,
        Err((file, why)) => Observed::Unread(UnreadProcess { pid, file, why }),
    }
}

fn text<'b>(file: ProcFile, buffer: &'b mut Vec<u8>, read: ReadFile<'_>) -> Reading<&'b [u8]> {
    buffer.clear();
    read(file, buffer)?;
    Ok(trimmed(buffer))
}

/// Fails only when the process is gone; what is forbidden or broken is noted, and the other marks are still read.
fn read_marks(
    pid: u32,
    index: &MarkIndex,
    observer: &Observer,
    buffer: &mut Vec<u8>,
    read: ReadFile<'_>,
    climb: Climb<'_>,
) -> Result<Marks, Unread> {
    let mut marks = Marks { is_candidate: index.has_member(pid), ..Marks::default() };
    let namespace = text(ProcFile::PidNamespace, buffer, read)
        .and_then(|target| parse_namespace_link(target).ok_or(Unread::MALFORMED))
        .and_then(|inode| {
            marks.pid_namespace = Some(inode);
            if inode == observer.pid_namespace { Ok(Vec::new()) } else { climb(inode) }
        });
    let namespace = match namespace {
        Err(Unread::Denied) if is_in_observers_namespace(buffer, read)? => {
            marks.pid_namespace = Some(observer.pid_namespace);
            Ok(Vec::new())
        }
        other => other,
    };
    marks.lineage = note(&mut marks.unread, ProcFile::PidNamespace, namespace)?.unwrap_or_default();
    marks.is_candidate |= index.has_lineage(&marks.lineage);
    if index.wants_sessions() {
        let session =
            text(ProcFile::SessionId, buffer, read).and_then(|digits| number::<u32>(digits).ok_or(Unread::MALFORMED));
        marks.audit_session = note(&mut marks.unread, ProcFile::SessionId, session)?.filter(|id| *id != SESSION_UNSET);
        marks.is_candidate |= index.has_session(marks.audit_session);
    }
    if index.wants_owners() {
        let owner =
            text(ProcFile::Owner, buffer, read).and_then(|digits| number::<u32>(digits).ok_or(Unread::MALFORMED));
        let owner = note(&mut marks.unread, ProcFile::Owner, owner)?;
        marks.is_candidate |= owner.is_some_and(|uid| index.has_uid(uid));
    }
    Ok(marks)
}

/// Who may not follow the link, as the kernel asks for `ptrace` rights, can still learn from `status`, which everybody
/// may read, that a process has one pid only: then it is in the namespace that this procfs shows. Pid 1 of a host often
/// has capabilities that the auditor lacks, so this is not about unprivileged auditors alone.
fn is_in_observers_namespace(buffer: &mut Vec<u8>, read: ReadFile<'_>) -> Result<bool, Unread> {
    match text(ProcFile::Status, buffer, read) {
        Ok(body) => Ok(parse_status(body).is_some_and(|status| status.namespaces_below == Some(0))),
        Err(Unread::Vanished) => Err(Unread::Vanished),
        Err(Unread::Denied | Unread::Failed(_)) => Ok(false),
    }
}

/// Keeps the first thing that could not be read of a process that is there.
fn note<T>(unread: &mut Option<(ProcFile, Unread)>, file: ProcFile, reading: Reading<T>) -> Result<Option<T>, Unread> {
    match reading {
        Ok(value) => Ok(Some(value)),
        Err(Unread::Vanished) => Err(Unread::Vanished),
        Err(why @ (Unread::Denied | Unread::Failed(_))) => {
            unread.get_or_insert((file, why));
            Ok(None)
        }
    }
}

fn read_detail(
    pid: u32,
    marks: Marks,
    buffer: &mut Vec<u8>,
    read: ReadFile<'_>,
) -> Result<ProcessSeen, (ProcFile, Unread)> {
    let (first, comm) = read_stat(buffer, read)?;
    let status = text(ProcFile::Status, buffer, read)
        .and_then(|body| parse_status(body).ok_or(Unread::MALFORMED))
        .map_err(|why| (ProcFile::Status, why))?;
    let mut cgroup = read_cgroup(ProcFile::Cgroup, buffer, read);
    let exe = text(ProcFile::Exe, buffer, read).ok().map(escaped);
    let argv = text(ProcFile::Cmdline, buffer, read).map(arguments).unwrap_or_default();
    let wchan = if first.state == b'D' { text(ProcFile::Wchan, buffer, read).ok().map(escaped) } else { None };
    let (stat, _) = read_stat(buffer, read)?;
    let mut life = if stat.is_zombie() { Life::Zombie } else { Life::Alive };
    if life == Life::Alive && stat.is_exiting() {
        // The main thread tells nothing any more; another thread may.
        let living = if stat.num_threads > 1 {
            read_cgroup(ProcFile::LivingThreadCgroup, buffer, read)
        } else {
            Err(Unread::Vanished)
        };
        if living == Err(Unread::Vanished) {
            life = Life::Dying;
        } else {
            cgroup = living;
        }
    }
    if life == Life::Alive && status.kill_is_pending {
        life = Life::Dying;
    } else if life == Life::Alive && !first.has_run {
        life = Life::Newborn;
    }
    Ok(ProcessSeen {
        key: ProcessKey { pid, starttime_ticks: stat.starttime_ticks },
        life,
        stat,
        comm,
        lineage: marks.lineage,
        pid_namespace: marks.pid_namespace,
        audit_session: marks.audit_session,
        uid: Some(status.uid),
        pid_in_namespace: status.pid_in_namespace,
        cgroup,
        exe: exe.filter(|path| !path.is_empty()),
        argv,
        wchan: wchan.filter(|name| !name.is_empty() && name != "0"),
    })
}

fn read_stat(buffer: &mut Vec<u8>, read: ReadFile<'_>) -> Result<(Stat, String), (ProcFile, Unread)> {
    text(ProcFile::Stat, buffer, read)
        .and_then(|body| parse_stat(body).ok_or(Unread::MALFORMED))
        .map(|(stat, name)| (stat, escaped(name)))
        .map_err(|why| (ProcFile::Stat, why))
}

fn read_cgroup(file: ProcFile, buffer: &mut Vec<u8>, read: ReadFile<'_>) -> Reading<Vec<crate::parse::CgroupLine>> {
    buffer.clear();
    read(file, buffer)?;
    parse_cgroup(buffer).ok_or(Unread::MALFORMED)
}

fn arguments(cmdline: &[u8]) -> Vec<String> {
    let body = cmdline.strip_suffix(b"\0").unwrap_or(cmdline);
    if body.is_empty() {
        return Vec::new();
    }
    let kept = body.split(|byte| *byte == 0).take(ARGV_KEPT);
    kept.map(|argument| escaped(argument.get(..ARG_BYTES_KEPT).unwrap_or(argument))).collect()
}
