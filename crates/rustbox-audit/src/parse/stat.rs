//! `/proc/<pid>/stat`, the few fields that an audit needs.

use super::number;

/// Fields of `/proc/<pid>/stat` (proc_pid_stat(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// State letter: field 3.
    pub state: u8,
    /// Parent: field 4; 0 when it is outside the reader's PID namespace, or there is none.
    pub ppid: u32,
    /// Flags of the task, `PF_*` of `linux/sched.h`: field 9.
    pub flags: u32,
    /// Threads of the process, a dead leader included: field 20.
    pub num_threads: u32,
    /// Start time in clock ticks since boot: field 22.
    pub starttime_ticks: u64,
    /// Whether it has run at all: it slept, met a page fault (fields 10, 12) or was given time (fields 14, 15).
    pub has_run: bool,
}

/// Position of each field behind the name, the state being the first.
const PPID: usize = 1;
const FLAGS: usize = 6;
const MINFLT: usize = 7;
const MAJFLT: usize = 9;
const UTIME: usize = 11;
const STIME: usize = 12;
const NUM_THREADS: usize = 17;
const STARTTIME: usize = 19;

impl Stat {
    /// `PF_EXITING`: the task is in `do_exit`, or behind it.
    const PF_EXITING: u32 = 0x0000_0004;
    /// `PF_KTHREAD`: a thread of the kernel, which nobody signals.
    const PF_KTHREAD: u32 = 0x0020_0000;

    /// Whether it is a thread of the kernel.
    #[must_use]
    pub fn is_kernel_thread(&self) -> bool {
        self.flags & Self::PF_KTHREAD != 0
    }

    /// Whether the main thread has ended. The process has not, while other threads live.
    #[must_use]
    pub fn leader_is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }

    /// Whether the whole process has ended and waits to be reaped.
    ///
    /// The main thread of a living process can be dead too; then there are other threads.
    #[must_use]
    pub fn is_zombie(&self) -> bool {
        self.leader_is_dead() && self.num_threads <= 1
    }

    /// Whether the main thread is on its way out, so that what is said of its cgroup may be void.
    #[must_use]
    pub fn is_exiting(&self) -> bool {
        self.leader_is_dead() || self.flags & Self::PF_EXITING != 0
    }
}

/// Parses the file; the second part is the name, as the process chose it.
///
/// The name may hold anything, closing brackets and line ends included. Everything behind it is
/// numbers, so the *last* bracket ends it.
#[must_use]
pub fn parse_stat(text: &[u8]) -> Option<(Stat, &[u8])> {
    let open = text.iter().position(|byte| *byte == b'(')?;
    let close = text.iter().rposition(|byte| *byte == b')')?;
    let name = text.get(open + 1..close)?;
    let mut stat = Stat { state: 0, ppid: 0, flags: 0, num_threads: 0, starttime_ticks: 0, has_run: false };
    let fields = text.get(close + 1..)?.strip_prefix(b" ")?.split(|byte| *byte == b' ');
    for (index, field) in fields.take(STARTTIME + 1).enumerate() {
        match index {
            0 => {
                stat.state = *field.first().filter(|_| field.len() == 1)?;
                stat.has_run = stat.state != b'R';
            }
            MINFLT | MAJFLT | UTIME | STIME => stat.has_run |= number::<u64>(field)? > 0,
            PPID => stat.ppid = number(field)?,
            FLAGS => stat.flags = number(field)?,
            NUM_THREADS => stat.num_threads = number(field)?,
            STARTTIME => {
                stat.starttime_ticks = number(field)?;
                return Some((stat, name));
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    // Linux 6.18, a zombie: `flags` has PF_EXITING.
    const ZOMBIE: &[u8] = b"14109 (python3) Z 14068 14065 3858 0 -1 4227148 229 0 0 0 0 0 0 0 20 0 1 0 181786 0 0 \
        18446744073709551615 0 0 0 0 0 0 0 16781312 2 1 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n";

    #[test]
    fn a_zombie_is_told() {
        let (stat, name) = parse_stat(ZOMBIE).unwrap();
        assert_eq!(name, b"python3");
        assert_eq!((stat.ppid, stat.num_threads, stat.starttime_ticks), (14068, 1, 181_786));
        assert!(stat.is_zombie() && stat.is_exiting() && !stat.is_kernel_thread());
    }

    #[test]
    fn a_dead_leader_with_live_threads_is_no_zombie() {
        let text = String::from_utf8(ZOMBIE.to_vec()).unwrap().replace(" 20 0 1 0 181786", " 20 0 3 0 181786");
        let (stat, _) = parse_stat(text.as_bytes()).unwrap();
        assert!(stat.leader_is_dead() && !stat.is_zombie());
    }

    #[test]
    fn who_has_not_run_is_told() {
        // A task that was never scheduled reads R, since `TASK_NEW` has no letter (fs/proc/array.c), and has zeros.
        let text = |state: &str, faults: &str, times: &str| {
            format!("7 (a) {state} 1 7 7 0 -1 64 {faults} 0 0 0 {times} 0 0 20 0 1 0 9 0 0\n").into_bytes()
        };
        let has_run = |state, faults, times| parse_stat(&text(state, faults, times)).unwrap().0.has_run;
        assert!(!has_run("R", "0", "0 0"));
        assert!(has_run("S", "0", "0 0") && has_run("R", "1", "0 0") && has_run("R", "0", "0 1"));
    }

    #[test]
    fn a_hostile_name_changes_no_field() {
        let mut text = ZOMBIE.to_vec();
        let name = b"x) Z 1 1\nUid:\t0";
        text.splice(7..14, name.iter().copied());
        let (stat, seen) = parse_stat(&text).unwrap();
        assert_eq!(seen, name);
        assert_eq!((stat.ppid, stat.starttime_ticks), (14068, 181_786));
    }

    #[test]
    fn a_torn_text_is_refused() {
        let start = ZOMBIE.iter().position(|byte| *byte == b'1').unwrap();
        let end = b"14109 (python3) Z 14068 14065 3858 0 -1 4227148 229 0 0 0 0 0 0 0 20 0 1 0 ".len();
        for cut in start..end {
            assert_eq!(parse_stat(&ZOMBIE[..cut]), None, "{cut}");
        }
    }
}
