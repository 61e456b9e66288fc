//! A program for a box that is waiting: one record, made by the supervisor, taken apart by the init.
//!
//! The record is a header of words, then strings, each with its NUL: the paths to try, the arguments, the environment, the
//! working directory. The descriptors of the streams come along. The init reads it into memory of a fixed size on its
//! stack, and what it makes of it points into that: nothing is allocated.

use std::ffi::{CStr, CString, c_char};
use std::os::fd::{AsRawFd, BorrowedFd};

use rustbox_core::{RunPlan, WaitFor};
use rustix::process::Resource;

use crate::blueprint::{Limit, arguments, backstop, candidates, environment, rlimits, working_directory};
use crate::error::Error;
use crate::orders::Orders;
use crate::spawn::Init;
use crate::sys::{self, ExecArray};

/// Longest record. A longer command line or environment is for a box that is made for it.
pub(crate) const JOB_BYTES: usize = 48 << 10;
/// Pointers to the strings of one record, half for the arguments and half for the environment, nulls included.
pub(crate) const JOB_STRINGS: usize = 4096;
/// First word of a record, so that no other one is taken for it.
const MAGIC: u64 = u64::from_le_bytes(*b"rbx-job!");
/// The kinds of limits, in the order of the blueprint's list.
const RESOURCES: [Resource; 6] =
    [Resource::Fsize, Resource::Nofile, Resource::Stack, Resource::Core, Resource::As, Resource::Cpu];
/// Words before the limits: magic, whom to wait for, backstop and whether there is one, streams, lengths of four parts.
const FIXED_WORDS: usize = 9;
/// Words of one limit: which of the two are set, soft, hard.
const LIMIT_WORDS: usize = 3;
const HEADER_WORDS: usize = FIXED_WORDS + RESOURCES.len() * LIMIT_WORDS;
const HEADER_BYTES: usize = HEADER_WORDS * 8;
const LIMIT_THERE: u64 = 1;
const LIMIT_SOFT: u64 = 2;
const LIMIT_HARD: u64 = 4;

/// A program for a waiting box.
#[derive(Debug)]
pub struct Job {
    bytes: Vec<u8>,
}

fn packed(strings: &[CString]) -> Vec<u8> {
    strings.iter().flat_map(|text| text.as_bytes_with_nul()).copied().collect()
}

impl Job {
    /// Puts the command, the limits of each process and the time limit of a plan into a record.
    ///
    /// # Errors
    /// [`Error::JobTooLarge`] when it does not fit; then the run needs a box of its own.
    pub fn new(plan: &RunPlan) -> Result<Self, Error> {
        let (argv, envp) = (arguments(plan)?, environment(plan)?);
        let parts = [candidates(plan)?, packed(&argv), packed(&envp), working_directory(plan)?.into_bytes_with_nul()];
        let length = HEADER_BYTES + parts.iter().map(Vec::len).sum::<usize>();
        if length > JOB_BYTES || argv.len().max(envp.len()) >= JOB_STRINGS / 2 {
            return Err(Error::JobTooLarge { bytes: length, strings: argv.len() + envp.len() });
        }
        let backstop_ns = backstop(&plan.limits);
        let mut words = vec![
            MAGIC,
            u64::from(plan.wait == WaitFor::All),
            u64::from(backstop_ns.is_some()),
            backstop_ns.unwrap_or(0),
            0,
        ];
        words.extend(parts.iter().map(|part| part.len() as u64));
        let limits = rlimits(&plan.limits);
        for item in 0..RESOURCES.len() {
            let limit = limits.iter().find(|limit| usize::try_from(limit.item).is_ok_and(|found| found == item));
            let bit = |there: bool, bit| if there { bit } else { 0 };
            words.extend(limit.map_or([0; LIMIT_WORDS], |limit| {
                let there = LIMIT_THERE | bit(limit.soft.is_some(), LIMIT_SOFT) | bit(limit.hard.is_some(), LIMIT_HARD);
                [there, limit.soft.unwrap_or(0), limit.hard.unwrap_or(0)]
            }));
        }
        let mut bytes: Vec<u8> = words.into_iter().flat_map(u64::to_ne_bytes).collect();
        bytes.extend(parts.into_iter().flatten());
        Ok(Self { bytes })
    }
}

/// Where the word stands that says which streams come along, a bit each.
const STREAMS_AT: usize = 4;

impl Init {
    /// Gives a waiting init its program, with the standard streams that are not the supervisor's own.
    ///
    /// # Errors
    /// The init is dead.
    pub fn give(&self, job: &Job, stdio: [Option<BorrowedFd<'_>>; 3]) -> Result<(), Error> {
        let mut bytes = job.bytes.clone();
        let streams =
            (0..).zip(&stdio).filter(|(_, fd)| fd.is_some()).fold(0_u64, |bits, (index, _)| bits | 1 << index);
        if let Some(word) = bytes.get_mut(STREAMS_AT * 8..STREAMS_AT * 8 + 8) {
            word.copy_from_slice(&streams.to_ne_bytes());
        }
        let fds: Vec<BorrowedFd<'_>> = stdio.into_iter().flatten().collect();
        sys::send_with_fds(self.socket(), &bytes, &fds).map_err(Error::call("give the box's init its program"))
    }
}

/// Memory for what points into a record.
pub(crate) struct Room {
    limits: [Limit; RESOURCES.len()],
    pointers: [*const c_char; JOB_STRINGS],
}

impl Room {
    pub(crate) const fn new() -> Self {
        let limit = Limit { item: 0, resource: Resource::Fsize, soft: None, hard: None };
        Self { limits: [limit; RESOURCES.len()], pointers: [std::ptr::null(); JOB_STRINGS] }
    }
}

/// Takes a record apart; none when it is not one of ours. Runs in the init: does not allocate.
pub(crate) fn orders<'a>(
    record: &'a [u8],
    fds: &[Option<std::os::fd::OwnedFd>],
    room: &'a mut Room,
) -> Option<Orders<'a>> {
    let mut words = [0_u64; HEADER_WORDS];
    for (to, from) in words.iter_mut().zip(record.get(..HEADER_BYTES)?.as_chunks::<8>().0) {
        *to = u64::from_ne_bytes(*from);
    }
    let [magic, all, has_backstop, backstop_ns, streams, paths, argv, envp, cwd, limits @ ..] = words;
    if magic != MAGIC {
        return None;
    }
    let mut rest = record.get(HEADER_BYTES..)?;
    let mut part = |length: u64| {
        let (one, others) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        rest = others;
        Some(one)
    };
    let (paths, argv, envp, cwd) = (part(paths)?, part(argv)?, part(envp)?, part(cwd)?);
    let Room { limits: limit_room, pointers } = room;
    let mut count = 0;
    for ((item, resource), limit) in (0..).zip(RESOURCES).zip(limits.as_chunks::<LIMIT_WORDS>().0) {
        let [there, soft, hard] = *limit;
        if there & LIMIT_THERE != 0 {
            let (soft, hard) = ((there & LIMIT_SOFT != 0).then_some(soft), (there & LIMIT_HARD != 0).then_some(hard));
            *limit_room.get_mut(count)? = Limit { item, resource, soft, hard };
            count += 1;
        }
    }
    let mut given = fds.iter().flatten();
    let mut stdio = [None; 3];
    for (index, slot) in (0..).zip(&mut stdio) {
        if streams & (1 << index) != 0 {
            // One that is itself 0, 1 or 2 would be overwritten while the streams are put in place.
            *slot = Some(given.next().map(AsRawFd::as_raw_fd).filter(|fd| *fd > 2)?);
        }
    }
    let (first, second) = pointers.split_at_mut(JOB_STRINGS / 2);
    Some(Orders {
        stdio,
        rlimits: limit_room.get(..count)?,
        cwd: CStr::from_bytes_with_nul(cwd).ok()?,
        candidates: paths,
        argv: ExecArray::of(argv, first)?,
        envp: ExecArray::of(envp, second)?,
        wait: if all == 0 { WaitFor::Main } else { WaitFor::All },
        backstop_ns: (has_backstop != 0).then_some(backstop_ns),
    })
}

#[cfg(test)]
mod tests {
    use rustbox_core::RunSpec;

    use super::*;

    fn record(spec: RunSpec) -> Vec<u8> {
        Job::new(&spec.validate().unwrap()).unwrap().bytes
    }

    #[test]
    fn a_record_is_taken_apart_into_what_it_was_made_of() {
        let argv = ["prog".into(), "".into(), "a b".into()];
        let bytes =
            record(RunSpec { argv: argv.to_vec(), fsize: Some(rustbox_core::ByteSize(7)), ..RunSpec::default() });
        let mut room = Room::new();
        let orders = orders(&bytes, &[], &mut room).unwrap();
        assert_eq!(orders.cwd, c"/box");
        assert!(orders.candidates.starts_with(b"/usr/local/sbin/prog\0/usr/local/bin/prog\0"));
        assert!(orders.rlimits.iter().any(|limit| limit.resource == Resource::Fsize && limit.soft == Some(7)));
        assert_eq!((orders.wait, orders.backstop_ns, orders.stdio), (WaitFor::Main, None, [None; 3]));
    }

    #[test]
    fn a_record_that_is_cut_or_changed_is_refused() {
        let bytes = record(RunSpec { argv: vec!["prog".into()], ..RunSpec::default() });
        for length in 0..bytes.len() {
            assert!(orders(&bytes[..length], &[], &mut Room::new()).is_none(), "{length}");
        }
        let mut other = bytes.clone();
        other[0] ^= 1;
        assert!(orders(&other, &[], &mut Room::new()).is_none());
        // A stream is announced, and no descriptor came along.
        let mut streams = bytes;
        streams[STREAMS_AT * 8] = 1;
        assert!(orders(&streams, &[], &mut Room::new()).is_none());
    }

    #[test]
    fn what_does_not_fit_is_refused_before_it_is_sent() {
        let many = RunSpec { argv: vec!["x".into(); JOB_STRINGS], ..RunSpec::default() };
        assert!(matches!(Job::new(&many.validate().unwrap()), Err(Error::JobTooLarge { .. })));
        let long = RunSpec { argv: vec!["x".repeat(JOB_BYTES).into()], ..RunSpec::default() };
        assert!(matches!(Job::new(&long.validate().unwrap()), Err(Error::JobTooLarge { .. })));
    }
}
