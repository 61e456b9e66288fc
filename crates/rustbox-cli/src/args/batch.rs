//! Arguments of `rustbox batch`.

use std::path::PathBuf;

use clap::Args;

const HELP: &str = "\
JOBS.jsonl has one job on each line; `-` is standard input:
  {\"id\": \"a\", \"argv\": [\"./sol\"], \"run\": {\"mem\": \"64M\", \"time\": 1}, \"ro_bind\": [\"/work:/box\"],
   \"stdin\": {\"path\": \"1.in\"}, \"expected\": {\"text\": \"42\\n\"}}
`argv` or `code` is needed, the rest is not. `run` takes the keys of the configuration file. `stdin` and
`expected` are a path, or a text of their own; with `expected`, `matches` in the result tells whether the
output was that, spaces at the ends of lines and empty lines at the end left aside. `stdout` and `stderr`
name files; without them output is thrown away. `env`, `bind`, `ro_bind` and `tmpfs` are as in `rustbox run`.

A result is one line: `job` (the number of its line, from 1), `id`, `report` as of `rustbox run --json`,
`matches`, or `error` for a job that did not run. Boxes are prepared in advance, for jobs like the first that can have
one: a job that differs from it in more than command, streams, times and the values of cgroup limits gets a box of its own.

SIGINT, SIGTERM: what runs is killed, and has no result; `--resume` runs it again. Another one five seconds later
ends a batch whose results nobody reads. When results cannot be written any more, what runs is killed too. When the worker
is quarantined, or told to accept nothing, what runs is finished and nothing else is begun.
Exit codes: 0 every job has a report, also those of an earlier part with --resume, 1 some have an error, 120 the worker
takes no work, 121 something was left of a box, 125 rustbox failed or misuse, 128+N interrupted by signal N.";

/// Arguments of `rustbox batch`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct BatchArgs {
    /// The jobs, one JSON object a line
    #[arg(value_name = "JOBS.jsonl")]
    pub(crate) jobs: PathBuf,
    /// Runs at once [default: as many as there are processors] [range: 1 to 128]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=128))]
    pub(crate) workers: Option<u16>,
    /// Where the results go, one line for each job; must not be there, but with --resume [default: stdout]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Results as they come, not in the order of the jobs
    #[arg(long)]
    pub(crate) unordered: bool,
    /// Leaves out the jobs whose result is in FILE, which must be of the same jobs; a torn last line there is removed
    #[arg(long, requires = "out")]
    pub(crate) resume: bool,
}
