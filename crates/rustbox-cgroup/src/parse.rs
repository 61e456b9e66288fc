//! Pure readers of the kernel's control files.

/// The number behind `key` in a file of lines `key number`, such as `cpu.stat`.
pub(crate) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim_end().parse().ok())
}

/// A file that holds one number.
pub(crate) fn single(text: &str) -> Option<u64> {
    text.trim_end().parse().ok()
}

/// The process ids of `cgroup.procs`. A 0 stands for a process outside our PID namespace and is kept.
pub(crate) fn pids(text: &str) -> Option<Vec<u32>> {
    text.lines().map(|line| line.parse().ok()).collect()
}

/// A list of CPUs as the sorted ranges that it names, so that `0,1` and `0-1` compare equal.
pub(crate) fn cpu_ranges(text: &str) -> Option<Vec<(u32, u32)>> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for part in text.trim_end().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        ranges.push((first.parse().ok()?, last.parse().ok()?));
    }
    ranges.sort_unstable();
    ranges.dedup_by(|next, last| {
        let joins = next.0 <= last.1.saturating_add(1);
        last.1 = if joins { last.1.max(next.1) } else { last.1 };
        joins
    });
    Some(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Read from Linux 6.18.
    const CPU_STAT: &str = "usage_usec 1234\nuser_usec 1000\nsystem_usec 234\nnice_usec 0\n";
    const MEMORY_EVENTS: &str = "low 0\nhigh 0\nmax 7\noom 2\noom_kill 1\noom_group_kill 0\nsock_throttled 0\n";

    #[test]
    fn a_key_is_matched_whole() {
        assert_eq!(keyed(CPU_STAT, "user_usec"), Some(1000));
        assert_eq!(keyed(MEMORY_EVENTS, "oom"), Some(2));
        assert_eq!(keyed(MEMORY_EVENTS, "oom_kill"), Some(1));
        assert_eq!(keyed(MEMORY_EVENTS, "oom_"), None);
        assert_eq!(keyed("populated x\n", "populated"), None);
        assert_eq!(keyed("", "populated"), None);
    }

    #[test]
    fn cpu_lists_compare_as_sets() {
        assert_eq!(cpu_ranges("0,1,2,5\n"), cpu_ranges("0-2,5"));
        assert_eq!(cpu_ranges("0-1"), Some(vec![(0, 1)]));
        assert_eq!(cpu_ranges("\n"), Some(vec![]));
        assert_ne!(cpu_ranges("0"), cpu_ranges("0-1"));
        assert_eq!(cpu_ranges("x"), None);
    }

    #[test]
    fn a_list_of_processes_is_read_whole_or_not_at_all() {
        assert_eq!(pids("1\n0\n4194303\n"), Some(vec![1, 0, 4_194_303]));
        assert_eq!(pids(""), Some(vec![]));
        assert_eq!(pids("1\nx\n"), None);
        assert_eq!(pids("-1\n"), None);
    }
}
