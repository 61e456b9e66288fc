//! Arguments of `rustbox run`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::OsStringValueParser;
use clap::{ArgMatches, Args};
use rustbox_core::{BindAccess, ByteSize, Network, RunSpec, SeccompMode, Seconds, WaitFor};

use super::values::{EnvArg, EnvParser, network, seccomp, wait_for};

/// What `--wait-for-box` without a time means: the longest time that is accepted, 366 days.
const AS_LONG_AS_IT_TAKES: &str = "8784h";

const EXAMPLES: &str = "\
When the program ends or a limit is reached, everything else in the box is killed; rustbox returns
when the box was read as empty and is removed. Settings can also stand in the configuration file.

Sizes: bytes, or a number with K, M, G or T (powers of 1024), such as 64M.
Times: seconds such as 1.5 or 1.5s, or 200ms, 2m, 1h.
Everything after CMD belongs to CMD, even what begins with a hyphen; `--` ends rustbox's options.

Exit codes:
  the payload's own code, or 128+N when signal N ended it;
  120 worker quarantined    124 time or output limit      126 not executable
  121 containment violated  125 rustbox failed or misuse  127 not found
  122 a control is missing, and strict mode refuses
  137 memory limit  153 file size limit  159 denied system call (--seccomp kill)
A payload can return any of these itself: `status` and `cause` in the JSON report tell them apart.

Examples:
  rustbox run -- python3 -c 'print(6 * 7)'
  rustbox run --mem 64M --time 2 --wall-time 10 --json=report.json -- ./a.out
  rustbox run --ro-bind \"$PWD:/src\" --chdir /src --code 'make test'
  rustbox run --stdin input.txt --stdout output.txt --output-limit 16M -- ./solution
  rustbox --dry-run run -- ./a.out";

const LIMITS: &str = "Limits";
const FILES: &str = "Files";
const INSIDE: &str = "Inside the box";
const ISOLATION: &str = "Isolation";
const BOX: &str = "The box";
const REPORTS: &str = "Reports";

/// Arguments of `rustbox run`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RunArgs {
    /// The program and its arguments; a name without `/` is looked up in the box's PATH
    #[arg(value_name = "CMD", trailing_var_arg = true, value_parser = OsStringValueParser::new())]
    pub(crate) argv: Vec<OsString>,
    /// A shell text to run instead of CMD: `/bin/sh -c TEXT`
    #[arg(long, value_name = "TEXT", conflicts_with = "argv", allow_hyphen_values = true)]
    pub(crate) code: Option<OsString>,

    /// Memory of the whole box, swap included [default: 1G] [range: 4M and more]
    #[arg(long, value_name = "SIZE", help_heading = LIMITS, allow_hyphen_values = true)]
    mem: Option<ByteSize>,
    /// Processes and threads of the payload together [default: 256] [range: 1 to 4194303]
    #[arg(long, value_name = "N", help_heading = LIMITS, allow_hyphen_values = true)]
    pids: Option<u32>,
    /// CPU time of the whole box, short-lived children included [default: none]
    #[arg(long, value_name = "TIME", help_heading = LIMITS, allow_hyphen_values = true)]
    time: Option<Seconds>,
    /// Wall-clock time from the payload's exec [default: none]
    #[arg(long, value_name = "TIME", help_heading = LIMITS, allow_hyphen_values = true)]
    wall_time: Option<Seconds>,
    /// How much longer than --time the box runs before it is killed; the verdict is TLE all the same [default: 0]
    #[arg(long, value_name = "TIME", help_heading = LIMITS, allow_hyphen_values = true)]
    extra_time: Option<Seconds>,
    /// How many CPUs' worth of time the box may use [default: all] [range: 0.01 to 1024]
    #[arg(long, value_name = "N", help_heading = LIMITS, allow_hyphen_values = true)]
    cpus: Option<String>,
    /// The CPUs that the box may run on, ascending, such as 0-2,5 [default: all]
    #[arg(long, value_name = "LIST", help_heading = LIMITS, allow_hyphen_values = true)]
    cpuset: Option<String>,
    /// Size of any one file written; beyond it SIGXFSZ [default: none]
    #[arg(long, value_name = "SIZE", help_heading = LIMITS, allow_hyphen_values = true)]
    fsize: Option<ByteSize>,
    /// Open descriptors of one process [default: 1024] [range: 3 to 1048576]
    #[arg(long, value_name = "N", help_heading = LIMITS, allow_hyphen_values = true)]
    open_files: Option<u64>,
    /// Stack of one process [default: unlimited, so that --mem is what counts]
    #[arg(long, value_name = "SIZE", help_heading = LIMITS, allow_hyphen_values = true)]
    stack: Option<ByteSize>,
    /// Core dumps [default: 0]
    #[arg(long, value_name = "SIZE", help_heading = LIMITS, allow_hyphen_values = true)]
    core: Option<ByteSize>,
    /// Address space of one process; breaks runtimes that reserve much of it [default: none]
    #[arg(long, value_name = "SIZE", help_heading = LIMITS, allow_hyphen_values = true)]
    address_space: Option<ByteSize>,
    /// Standard output and standard error together; both are then captured and passed on [default: none]
    #[arg(long, value_name = "SIZE", help_heading = LIMITS, allow_hyphen_values = true)]
    output_limit: Option<ByteSize>,
    /// Size of /tmp and of /dev/shm, charged to --mem [default: 64M] [range: 4K and more]
    #[arg(long, value_name = "SIZE", help_heading = LIMITS, allow_hyphen_values = true)]
    tmp_size: Option<ByteSize>,
    /// Size of /box, charged to --mem [default: 256M] [range: 4K and more]
    #[arg(long, value_name = "SIZE", help_heading = LIMITS, allow_hyphen_values = true)]
    box_size: Option<ByteSize>,

    /// Shows a file or directory of the host, writable; what is written belongs to its owner. May be repeated
    #[arg(long, value_name = "SRC[:DEST]", help_heading = FILES)]
    bind: Vec<String>,
    /// Shows a file or directory of the host, read-only. May be repeated
    #[arg(long, value_name = "SRC[:DEST]", help_heading = FILES)]
    ro_bind: Vec<String>,
    /// An empty writable directory in memory, charged to --mem [default size: --tmp-size]. May be repeated
    #[arg(long, value_name = "DEST[:SIZE]", help_heading = FILES)]
    tmpfs: Vec<String>,
    /// A directory that holds a whole root, shown read-only [default: /usr, /bin, /lib* and some of /etc]
    #[arg(long, value_name = "DIR", help_heading = FILES)]
    rootfs: Option<PathBuf>,
    /// Standard input from this file [default: inherited]
    #[arg(long, value_name = "FILE", help_heading = FILES)]
    stdin: Option<PathBuf>,
    /// Standard output into this file [default: inherited]
    #[arg(long, value_name = "FILE", help_heading = FILES)]
    pub(crate) stdout: Option<PathBuf>,
    /// Standard error into this file [default: inherited]
    #[arg(long, value_name = "FILE", help_heading = FILES)]
    stderr: Option<PathBuf>,
    /// A descriptor, from 3 up, that the payload keeps; all others are closed. May be repeated
    #[arg(long, value_name = "N", help_heading = FILES, allow_hyphen_values = true)]
    pass_fd: Vec<i32>,

    /// Working directory [default: /box]
    #[arg(long, value_name = "DIR", help_heading = INSIDE)]
    chdir: Option<PathBuf>,
    /// Host name, 1 to 64 letters, digits, hyphens or dots [default: rustbox]
    #[arg(long, value_name = "NAME", help_heading = INSIDE)]
    hostname: Option<String>,
    /// A variable besides PATH, HOME and LANG; NAME alone passes ours on, if we have it. May be repeated
    #[arg(long, value_name = "NAME[=VALUE]", help_heading = INSIDE, value_parser = EnvParser)]
    env: Vec<EnvArg>,

    /// The box's network: a loopback and nothing else, or the host's (weaker, and reported) [default: none]
    #[arg(long, value_name = "NET", help_heading = ISOLATION, value_parser = network())]
    net: Option<Network>,
    /// What a denied system call does: fail, end the run, or no filter (weaker, and reported) [default: errno]
    #[arg(long, value_name = "MODE", help_heading = ISOLATION, value_parser = seccomp())]
    seccomp: Option<SeccompMode>,
    /// The same as --seccomp off
    #[arg(long, help_heading = ISOLATION, conflicts_with = "seccomp")]
    no_seccomp: bool,
    /// Accepted for old scripts: the filter is on by default
    #[arg(long, help_heading = ISOLATION, conflicts_with = "no_seccomp")]
    enable_syscall_filtering: bool,
    /// Refuses to run, with 122, when a control is missing (the default)
    #[arg(long, help_heading = ISOLATION, conflicts_with = "permissive")]
    strict: bool,
    /// Runs without a control that is missing, and reports that
    #[arg(long, help_heading = ISOLATION)]
    permissive: bool,

    /// Name of the box: `[a-z0-9][a-z0-9-]{0,62}` [default: random]
    #[arg(long, value_name = "ID", help_heading = BOX, allow_hyphen_values = true)]
    box_id: Option<String>,
    /// Waits while the box is busy, for TIME at most or as long as it takes [default: fails at once]
    #[arg(long, value_name = "TIME", help_heading = BOX, num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = AS_LONG_AS_IT_TAKES)]
    wait_for_box: Option<Seconds>,
    /// When the run is over: with the main process, or with the last one [default: main]
    #[arg(long, value_name = "WHOM", help_heading = BOX, value_parser = wait_for())]
    wait: Option<WaitFor>,

    /// The report as JSON, into FILE, or as the last line of stdout, below whatever the payload wrote there
    #[arg(long, value_name = "FILE", help_heading = REPORTS, num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "-")]
    pub(crate) json: Option<PathBuf>,
    /// A file in isolate's format: `status:XX` at first, replaced at the end
    #[arg(long, value_name = "FILE", help_heading = REPORTS)]
    pub(crate) meta: Option<PathBuf>,
    /// Open descriptor that gets JSON lines as the run proceeds, the report last
    #[arg(long, value_name = "N", help_heading = REPORTS, allow_hyphen_values = true)]
    #[arg(value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) status_fd: Option<i32>,
    /// No line about the run on stderr; errors are still printed
    #[arg(long, help_heading = REPORTS)]
    pub(crate) quiet: bool,

    /// `--bind` and `--ro-bind` together, in the order in which they were given.
    #[arg(skip)]
    binds: Vec<(String, BindAccess)>,
}

impl RunArgs {
    /// Puts `--bind` and `--ro-bind` into one list: a later mount may cover an earlier one, so their order counts.
    pub(super) fn order_binds(&mut self, matches: &ArgMatches) {
        let place = |name: &str| matches.indices_of(name).into_iter().flatten().collect::<Vec<_>>();
        let writable = place("bind").into_iter().zip(self.bind.drain(..).map(|b| (b, BindAccess::Writable)));
        let read_only = place("ro_bind").into_iter().zip(self.ro_bind.drain(..).map(|b| (b, BindAccess::ReadOnly)));
        let mut placed: Vec<_> = writable.chain(read_only).collect();
        placed.sort_by_key(|(index, _)| *index);
        self.binds = placed.into_iter().map(|(_, bind)| bind).collect();
    }

    /// Lays the flags over what the configuration file says: a flag wins, a list grows.
    pub(crate) fn apply(self, spec: &mut RunSpec) {
        fn over<T>(setting: &mut Option<T>, flag: Option<T>) {
            if flag.is_some() {
                *setting = flag;
            }
        }
        over(&mut spec.mem, self.mem);
        over(&mut spec.pids, self.pids);
        over(&mut spec.time, self.time);
        over(&mut spec.wall_time, self.wall_time);
        over(&mut spec.extra_time, self.extra_time);
        over(&mut spec.cpus, self.cpus);
        over(&mut spec.cpuset, self.cpuset);
        over(&mut spec.fsize, self.fsize);
        over(&mut spec.open_files, self.open_files);
        over(&mut spec.stack, self.stack);
        over(&mut spec.core, self.core);
        over(&mut spec.address_space, self.address_space);
        over(&mut spec.output_limit, self.output_limit);
        over(&mut spec.tmp_size, self.tmp_size);
        over(&mut spec.box_size, self.box_size);
        over(&mut spec.rootfs, self.rootfs);
        over(&mut spec.chdir, self.chdir);
        over(&mut spec.hostname, self.hostname);
        over(&mut spec.net, self.net);
        over(&mut spec.wait, self.wait);
        over(&mut spec.box_id, self.box_id);
        over(&mut spec.wait_for_box, self.wait_for_box);
        over(&mut spec.stdin, self.stdin);
        over(&mut spec.stdout, self.stdout);
        over(&mut spec.stderr, self.stderr);
        over(&mut spec.strict_mode, strict_mode(self.strict, self.permissive));
        over(&mut spec.seccomp, seccomp_mode(self.seccomp, self.no_seccomp, self.enable_syscall_filtering));
        spec.binds.extend(self.binds);
        spec.tmpfs.extend(self.tmpfs);
        spec.env.extend(self.env.into_iter().filter_map(EnvArg::resolve));
        spec.pass_fds.extend(self.pass_fd);
        spec.argv = match self.code {
            Some(text) => vec!["/bin/sh".into(), "-c".into(), text],
            None => self.argv,
        };
    }
}

fn strict_mode(strict: bool, permissive: bool) -> Option<bool> {
    (strict || permissive).then_some(strict)
}

/// `--enable-syscall-filtering` is a filter that was asked for: it outranks a configuration file that has none.
fn seccomp_mode(given: Option<SeccompMode>, none: bool, enable: bool) -> Option<SeccompMode> {
    match (given, none) {
        (Some(mode), _) => Some(mode),
        (None, true) => Some(SeccompMode::Off),
        (None, false) => enable.then_some(SeccompMode::Errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Command, parse};

    fn spec(args: &[&str]) -> RunSpec {
        let all = ["rustbox", "run"].iter().chain(args).map(OsString::from);
        let Command::Run(run) = parse(all).unwrap().command else { panic!("not a run") };
        let mut spec = RunSpec { mem: Some(ByteSize(1)), seccomp: Some(SeccompMode::Off), ..RunSpec::default() };
        run.0.apply(&mut spec);
        spec
    }

    #[test]
    fn binds_keep_the_order_in_which_they_were_given() {
        let spec = spec(&["--ro-bind", "/a", "--bind", "/a/b", "--ro-bind=/a/b/c", "--bind", "/d", "--", "x"]);
        let order: Vec<_> = spec.binds.iter().map(|(text, access)| (text.as_str(), *access)).collect();
        let (ro, rw) = (BindAccess::ReadOnly, BindAccess::Writable);
        assert_eq!(order, [("/a", ro), ("/a/b", rw), ("/a/b/c", ro), ("/d", rw)]);
    }

    #[test]
    fn a_flag_wins_over_the_file_and_silence_leaves_it() {
        assert_eq!(spec(&["--mem", "64M", "x"]).mem, Some(ByteSize(64 << 20)));
        assert_eq!(spec(&["x"]).mem, Some(ByteSize(1)));
        assert_eq!(spec(&["--permissive", "x"]).strict_mode, Some(false));
        assert_eq!(spec(&["x"]).strict_mode, None);
        // QS02: asking for the filter gives one, whatever the file says.
        assert_eq!(spec(&["--enable-syscall-filtering", "x"]).seccomp, Some(SeccompMode::Errno));
        assert_eq!(spec(&["x"]).seccomp, Some(SeccompMode::Off));
    }

    #[test]
    fn everything_after_the_program_is_the_programs() {
        assert_eq!(spec(&["x", "--mem", "1", "--", "-y"]).argv, ["x", "--mem", "1", "--", "-y"]);
        assert_eq!(spec(&["--", "-x", "--", "y"]).argv, ["-x", "--", "y"]);
        assert_eq!(spec(&["--code", "-n; echo"]).argv, ["/bin/sh", "-c", "-n; echo"]);
    }
}
