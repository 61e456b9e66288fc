//! Datagrams of the kernel's proc connector (linux/connector.h, linux/cn_proc.h).

/// What happened to a process. Threads are none of their own here: their ends are told by their process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcEvent {
    /// A process began.
    Forked {
        /// Its pid.
        pid: u32,
    },
    /// A process executes another program.
    Executed {
        /// Its pid.
        pid: u32,
    },
    /// A thread of the process ended, the last one perhaps.
    Exited {
        /// Its pid.
        pid: u32,
    },
}

/// `CN_IDX_PROC`: also the number of the multicast group.
pub(crate) const CN_IDX_PROC: u32 = 1;
/// `CN_VAL_PROC`.
const CN_VAL_PROC: u32 = 1;
/// `PROC_CN_MCAST_LISTEN`.
const LISTEN: u32 = 1;
/// `NLMSG_DONE`, the type of every message of the connector.
const NLMSG_DONE: u16 = 3;
/// Size of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Size of `struct cn_msg` without its data.
const CN_HEADER: usize = 20;
/// Where the union of `struct proc_event` begins: behind what, cpu and time.
const UNION: usize = 16;

const EVENT_FORK: u32 = 0x0000_0001;
const EVENT_EXEC: u32 = 0x0000_0002;
const EVENT_EXIT: u32 = 0x8000_0000;

/// The datagram that asks for the events.
pub(crate) fn listen_request(own_pid: u32) -> Vec<u8> {
    let data_bytes = size_of::<u32>();
    let mut out = Vec::with_capacity(HEADER + CN_HEADER + data_bytes);
    let length = u32::try_from(HEADER + CN_HEADER + data_bytes).unwrap_or(0);
    out.extend(length.to_ne_bytes());
    out.extend(NLMSG_DONE.to_ne_bytes());
    out.extend(0_u16.to_ne_bytes());
    for word in [0, own_pid, CN_IDX_PROC, CN_VAL_PROC, 0, 0] {
        out.extend(word.to_ne_bytes());
    }
    out.extend(u16::try_from(data_bytes).unwrap_or(0).to_ne_bytes());
    out.extend(0_u16.to_ne_bytes());
    out.extend(LISTEN.to_ne_bytes());
    out
}

/// Parses a datagram. None when it is not of the proc connector; no event when it is one that nobody asks about.
#[must_use]
pub fn parse_proc_events(datagram: &[u8]) -> Option<Vec<ProcEvent>> {
    let mut events = Vec::new();
    let mut rest = datagram;
    while !rest.is_empty() {
        let length = usize::try_from(word(rest, 0)?).ok()?;
        let message = rest.get(..length).filter(|_| length >= HEADER + CN_HEADER)?;
        events.extend(parse_message(message.get(HEADER..)?)?);
        // Messages are aligned to four bytes.
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(events)
}

fn parse_message(message: &[u8]) -> Option<Option<ProcEvent>> {
    if (word(message, 0)?, word(message, 4)?) != (CN_IDX_PROC, CN_VAL_PROC) {
        return None;
    }
    let event = message.get(CN_HEADER..)?;
    let data = event.get(UNION..)?;
    Some(match word(event, 0)? {
        EVENT_FORK => {
            let (thread, process) = (word(data, 8)?, word(data, 12)?);
            (thread == process).then_some(ProcEvent::Forked { pid: process })
        }
        EVENT_EXEC => Some(ProcEvent::Executed { pid: word(data, 4)? }),
        EVENT_EXIT => Some(ProcEvent::Exited { pid: word(data, 4)? }),
        _ => None,
    })
}

fn word(text: &[u8], at: usize) -> Option<u32> {
    let bytes = text.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Linux 6.18, little-endian: an exit of process 0x6636, as received.
    fn datagram(what: u32, data: [u32; 6]) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(76_u32.to_ne_bytes());
        out.extend([3, 0, 0, 0]);
        for word in [0, 0, CN_IDX_PROC, CN_VAL_PROC, 7, 0, 40, what, 0, 1, 2] {
            out.extend(u32::to_ne_bytes(word));
        }
        for word in data {
            out.extend(word.to_ne_bytes());
        }
        out
    }

    #[test]
    fn processes_are_told_and_threads_are_not() {
        let parse = |what, data| parse_proc_events(&datagram(what, data)).unwrap();
        assert_eq!(parse(EVENT_FORK, [5, 5, 9, 9, 0, 0]), [ProcEvent::Forked { pid: 9 }]);
        assert_eq!(parse(EVENT_FORK, [5, 5, 10, 9, 0, 0]), []);
        assert_eq!(parse(EVENT_EXEC, [10, 9, 0, 0, 0, 0]), [ProcEvent::Executed { pid: 9 }]);
        assert_eq!(parse(EVENT_EXIT, [9, 9, 0, 17, 5, 5]), [ProcEvent::Exited { pid: 9 }]);
        assert_eq!(parse(0x200, [9, 9, 0, 0, 0, 0]), [], "a new name is no event here");
    }

    #[test]
    fn a_torn_datagram_is_refused() {
        let whole = datagram(EVENT_EXIT, [9, 9, 0, 17, 5, 5]);
        for cut in 1..whole.len() {
            assert_eq!(parse_proc_events(&whole[..cut]), None, "{cut}");
        }
        let mut foreign = whole;
        foreign[16] = 2;
        assert_eq!(parse_proc_events(&foreign), None);
    }

    #[test]
    fn the_request_is_what_the_kernel_expects() {
        let request = listen_request(77);
        assert_eq!(request.len(), 40);
        assert_eq!(request[..4], 40_u32.to_ne_bytes());
        assert_eq!(request[36..], 1_u32.to_ne_bytes());
    }
}
