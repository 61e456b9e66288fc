//! Every parser against mutated kernel text, for a bounded time: no panic, and the property that makes its answer true.
//!
//! `RUSTBOX_FUZZ_SECONDS` sets how long each parser is fuzzed (with `CI` set: 20, else 1), `RUSTBOX_SEED` repeats a run.
//! The mutations are not guided by coverage: that takes a nightly compiler, and these parsers are small. A planted bug
//! shows that the harness finds what it looks for.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test stops where its corpus cannot be read")]

#[path = "snapshots/random.rs"]
mod random;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use random::Dice;
use rustbox_audit::{
    parse_cgroup, parse_cgroup_mounts, parse_namespace_link, parse_proc_events, parse_stat, parse_status,
};

/// Longest text: the kernel's files of one process are a page or less, the mount table is longer.
const BYTES_MAX: usize = 16 << 10;
/// Executions between two looks at the clock.
const BATCH: u64 = 1000;

const STAT: &[u8] = b"14109 (python3) Z 14068 14065 3858 0 -1 4227148 229 0 0 0 0 0 0 0 20 0 1 0 181786 0 0 \
    18446744073709551615 0 0 0 0 0 0 0 16781312 2 1 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n";
const HOSTILE_STAT: &[u8] = b"812 (x) Z 1 1\nUid:\t0) S 811 1 1 0 -1 4194304 9 0 0 0 0 0 0 0 20 0 3 0 99 0 0\n";
const STATUS: &[u8] = b"Name:\tx) Z 1 1\\nUid:\t0\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t812\nPid:\t812\n\
    Uid:\t70005\t70005\t70005\t70005\nGroups:\t \nNStgid:\t812\t2\nNSpid:\t812\t2\nThreads:\t1\nSigQ:\t2/7713\n\
    SigPnd:\t0000000000000000\nShdPnd:\t0000000000000100\n";
const CGROUP_HYBRID: &[u8] = b"9:name=systemd:/\n8:pids:/rustbox-a\n4:memory:/rustbox-a\n1:cpu:/\n0::/rustbox-a\n";
const CGROUP_V2: &[u8] = b"0::/rustbox-a (deleted)\n";
const CGROUP_V1: &[u8] = b"4:cpu,cpuacct:/rustbox-a/x:y\n3:memory:/\n1:name=systemd:/init.scope\n";
const MOUNTS: &[u8] = b"35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
    41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n\
    42 31 0:39 /docker/a\\040b /mnt/a\\012b rw shared:1 master:2 - cgroup cgroup rw,cpu,cpuacct\n";
/// Pieces that the formats are made of.
const WORDS: [&[u8]; 22] = [
    b"(",
    b")",
    b" ",
    b"\n",
    b"\t",
    b":",
    b",",
    b"-",
    b"\0",
    b"\xff",
    b"/",
    b"\\040",
    b"\\4",
    b"pid:[",
    b"]",
    b"0::/",
    b"Uid:\t",
    b"NSpid:\t",
    b"ShdPnd:\t",
    b"18446744073709551616",
    b" - cgroup2 x y",
    b"99999999999999999999999999",
];

fn seconds() -> u64 {
    let default = if std::env::var_os("CI").is_some() { 20 } else { 1 };
    std::env::var("RUSTBOX_FUZZ_SECONDS").map_or(default, |text| text.parse().unwrap())
}

fn at(dice: &mut Dice, length: usize) -> usize {
    usize::try_from(dice.below(length as u64 + 1)).unwrap()
}

fn mutate(dice: &mut Dice, corpus: &[Vec<u8>], text: &mut Vec<u8>) {
    for _ in 0..=dice.below(4) {
        let (a, b) = (at(dice, text.len()), at(dice, text.len()));
        let (from, to) = (a.min(b), a.max(b));
        match dice.below(8) {
            0 => text.truncate(from),
            1 => drop(text.drain(from..to)),
            2 => text.insert(from, u8::try_from(dice.below(256)).unwrap()),
            3 => text.iter_mut().skip(from).take(1).for_each(|byte| *byte ^= 1 << dice.below(8)),
            4 => drop(text.splice(from..from, dice.pick(&WORDS).iter().copied()).collect::<Vec<_>>()),
            5 => drop(text.splice(from..to, dice.pick(&WORDS).iter().copied()).collect::<Vec<_>>()),
            6 => text.extend_from_within(from..to),
            _ => {
                let other = dice.pick(corpus);
                let tail = at(dice, other.len());
                text.truncate(from);
                text.extend_from_slice(&other[tail..]);
            }
        }
    }
    text.truncate(BYTES_MAX);
}

/// Feeds mutations of the corpus to `check` until the time is over; returns the first text on which it panics.
fn search(seed: u64, limit: Duration, corpus: &[Vec<u8>], check: &dyn Fn(&[u8])) -> (u64, Option<Vec<u8>>) {
    let mut dice = Dice(seed);
    let started = Instant::now();
    let mut executions = 0;
    let mut text = Vec::new();
    while started.elapsed() < limit {
        for _ in 0..BATCH {
            // Mutations pile up for a while, so that what no single one reaches is reached.
            if text.is_empty() || dice.one_in(8) {
                text.clone_from(dice.pick(corpus));
            }
            mutate(&mut dice, corpus, &mut text);
            executions += 1;
            if catch_unwind(AssertUnwindSafe(|| check(&text))).is_err() {
                return (executions, Some(text));
            }
        }
    }
    (executions, None)
}

fn fuzz(name: &str, corpus: &[&[u8]], live: &str, check: &dyn Fn(&[u8])) {
    let mut corpus: Vec<Vec<u8>> = corpus.iter().map(|text| text.to_vec()).collect();
    // What this kernel says of this process, and of others.
    for pid in ["self", "1", "2"] {
        corpus.extend(std::fs::read(format!("/proc/{pid}/{live}")).ok().filter(|text| !text.is_empty()));
    }
    corpus.iter().for_each(|text| check(text));
    let seed = std::env::var("RUSTBOX_SEED").map_or(1, |text| text.parse().unwrap());
    let (executions, found) = search(seed, Duration::from_secs(seconds()), &corpus, check);
    println!("{name}: {executions} texts, seed {seed}, {} s", seconds());
    assert!(found.is_none(), "{name}, seed {seed}: {}", found.unwrap().escape_ascii());
}

#[test]
fn stat_is_parsed_by_its_last_bracket_whatever_it_says() {
    fuzz("stat", &[STAT, HOSTILE_STAT], "stat", &|text| {
        let Some((stat, name)) = parse_stat(text) else { return };
        let close = text.iter().rposition(|byte| *byte == b')').unwrap();
        assert!(text[..close].ends_with(name), "the name is what stands before the last bracket");
        // Told again in the kernel's form, it is the same.
        let mut again = b"1 (".to_vec();
        again.extend_from_slice(name);
        let faults = u8::from(stat.has_run && stat.state == b'R');
        again.extend_from_slice(
            format!(
                ") {} {} 1 1 0 -1 {} {faults} 0 0 0 0 0 0 0 20 0 {} 0 {} 0",
                char::from(stat.state),
                stat.ppid,
                stat.flags,
                stat.num_threads,
                stat.starttime_ticks
            )
            .as_bytes(),
        );
        if stat.state.is_ascii() && !name.contains(&b')') {
            assert_eq!(parse_stat(&again), Some((stat, name)));
        }
    });
}

#[test]
fn status_takes_nothing_from_its_first_line() {
    fuzz("status", &[STATUS], "status", &|text| {
        let parsed = parse_status(text);
        // Another name changes nothing.
        let rest = text.iter().position(|byte| *byte == b'\n').map_or(&b""[..], |end| &text[end..]);
        let mut renamed = b"Name:\tUid:\t0\tNSpid:\t1".to_vec();
        renamed.extend_from_slice(rest);
        assert_eq!(parse_status(&renamed), parsed);
    });
}

#[test]
fn cgroup_lines_are_all_there_or_none_is() {
    fuzz("cgroup", &[CGROUP_HYBRID, CGROUP_V2, CGROUP_V1], "cgroup", &|text| {
        let Some(lines) = parse_cgroup(text) else { return };
        let mut again = Vec::new();
        for line in &lines {
            let own = line.path.strip_suffix(b" (deleted)").unwrap_or(&line.path);
            assert!(own.is_empty() || (own.starts_with(b"/") && line.is_within(own)), "{line:?}");
            again.extend_from_slice(&line.text);
            again.push(b'\n');
        }
        assert_eq!(again, text, "nothing is passed over");
    });
}

#[test]
fn mounts_are_no_more_than_lines() {
    fuzz("mountinfo", &[MOUNTS], "mountinfo", &|text| {
        let mounts = parse_cgroup_mounts(text);
        assert!(mounts.len() <= text.split(|byte| *byte == b'\n').count());
    });
}

#[test]
fn a_namespace_link_is_its_number_and_nothing_else() {
    fuzz("ns/pid", &[b"pid:[4026531836]", b"pid:[0]", b"mnt:[1]"], "ns/none", &|text| {
        let Some(inode) = parse_namespace_link(text) else { return };
        let digits: Vec<u8> = text.iter().copied().filter(u8::is_ascii_digit).collect();
        assert_eq!(text, [b"pid:[", digits.as_slice(), b"]"].concat());
        assert_eq!(String::from_utf8(digits).unwrap().parse(), Ok(inode));
    });
}

/// An exit, as the connector of a little-endian Linux 6.18 sends it.
fn datagram() -> Vec<u8> {
    let mut out = 76_u32.to_ne_bytes().to_vec();
    for word in [3, 0, 0, 1, 1, 7, 0, 40, 0x8000_0000, 0, 1, 2, 9, 9, 0, 17, 5, 5] {
        out.extend(u32::to_ne_bytes(word));
    }
    out
}

#[test]
fn process_events_are_no_more_than_fit() {
    let one = datagram();
    let two = [one.clone(), one.clone()].concat();
    assert!(parse_proc_events(&one).is_some_and(|events| events.len() == 1));
    assert!(parse_proc_events(&two).is_some_and(|events| events.len() == 2));
    fuzz("proc connector", &[&one, &two], "ns/none", &|text| {
        // 36 bytes of headers, and 16 of the event's own before its union.
        assert!(parse_proc_events(text).unwrap_or_default().len() <= text.len() / 52);
    });
}

/// A parser that believes the first closing bracket, as so many do, is found out at once.
#[test]
fn a_planted_bug_is_found() {
    let planted = |text: &[u8]| {
        let first = text.iter().position(|byte| *byte == b')');
        let last = text.iter().rposition(|byte| *byte == b')');
        assert!(parse_stat(text).is_none() || first == last);
    };
    let (executions, found) = search(1, Duration::from_secs(20), &[STAT.to_vec()], &planted);
    assert!(found.is_some(), "not found in {executions} texts");
    println!("the planted bug was found after {executions} texts");
    assert!(executions < 100_000);
}
