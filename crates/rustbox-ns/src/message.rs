//! What init and the payload's child tell the supervisor: records of fixed size on a
//! `SOCK_SEQPACKET` pair, whose other end no payload ever holds.

use rustbox_core::{Actor, Ending, Stage};

/// Words in one record.
const WORDS: usize = 8;
/// Bytes in one record.
pub(crate) const MESSAGE_BYTES: usize = WORDS * 8;

/// What init sends, in the order of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Init will die with its supervisor, is in its cgroups, and waits to be released.
    Armed {
        /// The parent-death signal, as `PR_GET_PDEATHSIG` returned it.
        pdeathsig: u32,
        /// CPU time that init had used when it was attached to cgroup v1 hierarchies, in nanoseconds;
        /// what it used before is charged elsewhere. 0 when it was born in its cgroup.
        attach_cpu_ns: u64,
        /// `errno` of the write to `/proc/self/loginuid`; 0 for success.
        loginuid_errno: i32,
    },
    /// Everything is done that can be done without knowing the program; init waits for a job.
    Prepared,
    /// A step failed; the box is about to end by itself.
    Failed {
        /// In which process.
        actor: Actor,
        /// Which step.
        stage: Stage,
        /// Why.
        errno: i32,
        /// Which item of the step: an index into the mount list, a resource, or 0.
        item: u32,
    },
    /// The seccomp listener of the payload; the descriptor comes along.
    Listener,
    /// The payload's credentials were read back; `execve` comes next.
    Started {
        /// `CLOCK_MONOTONIC`, in nanoseconds.
        at_ns: u64,
        /// CPU time of init and of the payload's child up to here, in nanoseconds.
        setup_cpu_ns: u64,
    },
    /// `execve` failed.
    ExecFailed {
        /// Why.
        errno: i32,
    },
    /// The main process was reaped.
    MainEnded {
        /// `CLOCK_MONOTONIC`, in nanoseconds.
        at_ns: u64,
        /// How it ended.
        ending: Ending,
        /// Largest resident set of the main process and of its waited-for children, in KiB.
        max_rss_kib: u64,
        /// Voluntary context switches of the same.
        voluntary: u64,
        /// Involuntary context switches of the same.
        involuntary: u64,
    },
    /// Init has no more children, or has been told enough; its last count.
    Reaped {
        /// Processes reaped besides the main one.
        descendants: u64,
        /// CPU time of init, in nanoseconds.
        init_cpu_ns: u64,
        /// Whether nothing is left but init.
        empty: bool,
    },
    /// The supervisor did not enforce the deadline in time, so init ended the box.
    Backstop,
}

/// A record that no init of ours sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record of the init is malformed")]
pub struct MalformedMessage;

impl Message {
    /// The record on the wire.
    pub(crate) fn encode(self) -> [u8; MESSAGE_BYTES] {
        let signed = |value: i32| u64::from(value.cast_unsigned());
        let words: [u64; WORDS] = match self {
            Self::Armed { pdeathsig, attach_cpu_ns, loginuid_errno } => {
                [1, u64::from(pdeathsig), attach_cpu_ns, signed(loginuid_errno), 0, 0, 0, 0]
            }
            Self::Failed { actor, stage, errno, item } => {
                let payload = u64::from(actor == Actor::Payload);
                [2, payload, stage as u64, signed(errno), u64::from(item), 0, 0, 0]
            }
            Self::Listener => [3, 0, 0, 0, 0, 0, 0, 0],
            Self::Started { at_ns, setup_cpu_ns } => [4, at_ns, setup_cpu_ns, 0, 0, 0, 0, 0],
            Self::ExecFailed { errno } => [5, signed(errno), 0, 0, 0, 0, 0, 0],
            Self::MainEnded { at_ns, ending, max_rss_kib, voluntary, involuntary } => {
                let (kind, value) = match ending {
                    Ending::Exited(code) => (0, code),
                    Ending::Signaled(signal) => (1, signal),
                };
                [6, at_ns, kind, signed(value), max_rss_kib, voluntary, involuntary, 0]
            }
            Self::Reaped { descendants, init_cpu_ns, empty } => {
                [7, descendants, init_cpu_ns, u64::from(empty), 0, 0, 0, 0]
            }
            Self::Prepared => [9, 0, 0, 0, 0, 0, 0, 0],
            Self::Backstop => [8, 0, 0, 0, 0, 0, 0, 0],
        };
        let mut bytes = [0; MESSAGE_BYTES];
        for (to, word) in bytes.chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    /// The record back from the wire. The length is checked: the socket's other end is ours, but
    /// it is held by a process that shares a kernel with the payload.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, MalformedMessage> {
        if bytes.len() != MESSAGE_BYTES {
            return Err(MalformedMessage);
        }
        let mut words = [0_u64; WORDS];
        for (to, from) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *to = u64::from_ne_bytes(*from);
        }
        let signed = |word: u64| u32::try_from(word).map(u32::cast_signed).map_err(|_| MalformedMessage);
        let narrow = |word: u64| u32::try_from(word).map_err(|_| MalformedMessage);
        let [kind, a, b, c, d, e, f, _] = words;
        Ok(match kind {
            1 => Self::Armed { pdeathsig: narrow(a)?, attach_cpu_ns: b, loginuid_errno: signed(c)? },
            2 => Self::Failed {
                actor: if a == 0 { Actor::Init } else { Actor::Payload },
                stage: u8::try_from(b).ok().and_then(Stage::from_number).ok_or(MalformedMessage)?,
                errno: signed(c)?,
                item: narrow(d)?,
            },
            3 => Self::Listener,
            4 => Self::Started { at_ns: a, setup_cpu_ns: b },
            5 => Self::ExecFailed { errno: signed(a)? },
            6 => Self::MainEnded {
                at_ns: a,
                ending: if b == 0 { Ending::Exited(signed(c)?) } else { Ending::Signaled(signed(c)?) },
                max_rss_kib: d,
                voluntary: e,
                involuntary: f,
            },
            7 => Self::Reaped { descendants: a, init_cpu_ns: b, empty: c != 0 },
            8 => Self::Backstop,
            9 => Self::Prepared,
            _ => return Err(MalformedMessage),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_survives_the_wire() {
        let records = [
            Message::Armed { pdeathsig: 9, attach_cpu_ns: 7, loginuid_errno: 1 },
            Message::Failed { actor: Actor::Payload, stage: Stage::Seccomp, errno: 22, item: 3 },
            Message::Listener,
            Message::Prepared,
            Message::Started { at_ns: u64::MAX, setup_cpu_ns: 1 },
            Message::ExecFailed { errno: 2 },
            Message::MainEnded { at_ns: 5, ending: Ending::Signaled(9), max_rss_kib: 1, voluntary: 2, involuntary: 3 },
            Message::MainEnded { at_ns: 5, ending: Ending::Exited(255), max_rss_kib: 1, voluntary: 2, involuntary: 3 },
            Message::Reaped { descendants: 4, init_cpu_ns: 9, empty: true },
            Message::Backstop,
        ];
        for record in records {
            assert_eq!(Message::decode(&record.encode()), Ok(record));
        }
    }

    #[test]
    fn other_lengths_and_kinds_are_refused() {
        let good = Message::Backstop.encode();
        for length in 0..MESSAGE_BYTES {
            assert_eq!(Message::decode(&good[..length]), Err(MalformedMessage));
        }
        let mut unknown = good;
        unknown[0] = 99;
        assert_eq!(Message::decode(&unknown), Err(MalformedMessage));
    }
}
