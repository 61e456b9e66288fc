//! Runs the proof of containment on this host, and puts the runs of several hosts together; `cargo xtask proof` builds and
//! calls it.
//!
//! `RUSTBOX_BIN`, `RUSTBOX_PEN` and `RUSTBOX_PAYLOADS` name what it uses.
#![expect(clippy::print_stdout, reason = "a proof tells what it does")]

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use rustbox_tests::proof::{
    HostRun, Plan, Proof, Target, html, junit, markdown_table, part_programs, proof_schema, run_host, statement,
    summary,
};

/// The proof of containment, one host at a time.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make every attack of the table on this host, run the parts, and write `run-SHAPE.json`.
    Run(RunArguments),
    /// Put runs together into one report, and say what was proved.
    Report(ReportArguments),
    /// Print the JSON Schema of the report.
    Schema,
    /// Print the table of all attacks as Markdown.
    Table,
}

#[derive(Debug, clap::Args)]
struct RunArguments {
    /// Directory of the proof.
    #[arg(long)]
    out: PathBuf,
    /// Cgroup interface that rustbox is told to use.
    #[arg(long)]
    backend: Option<String>,
    /// Only attacks and parts whose name holds this, or one of these with commas between them.
    #[arg(long)]
    only: Option<String>,
    /// The numbers of the night.
    #[arg(long)]
    full: bool,
    /// Attacks at the same time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// A test program for the parts, as NAME=PATH.
    #[arg(long = "program")]
    programs: Vec<String>,
    /// An adapter of `tests/targets`: another sandbox is attacked instead of rustbox.
    #[arg(long)]
    target: Option<PathBuf>,
    /// Name of the file, without its ending.
    #[arg(long, default_value = "run-host")]
    name: String,
    /// Also print the result, in lines that begin with this word.
    #[arg(long)]
    print_behind: Option<String>,
}

#[derive(Debug, clap::Args)]
struct ReportArguments {
    /// Directory of the proof.
    #[arg(long)]
    out: PathBuf,
    /// Commit of what was tested.
    #[arg(long)]
    commit: String,
    /// The numbers of the night were used.
    #[arg(long)]
    full: bool,
    /// Runs to put together.
    runs: Vec<PathBuf>,
}

fn main() -> Result<ExitCode> {
    match Arguments::parse().verb {
        Verb::Run(arguments) => run(&arguments),
        Verb::Report(arguments) => report(&arguments),
        Verb::Schema => {
            print!("{}", proof_schema());
            Ok(ExitCode::SUCCESS)
        }
        Verb::Table => {
            print!("{}", markdown_table());
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn run(arguments: &RunArguments) -> Result<ExitCode> {
    // A harness that fails says so in the attack's line; the default hook would tear the lines apart.
    std::panic::set_hook(Box::new(|_| {}));
    std::fs::create_dir_all(&arguments.out).with_context(|| format!("make {}", arguments.out.display()))?;
    let mut programs = Vec::new();
    for program in part_programs() {
        let given = arguments.programs.iter().filter_map(|given| given.split_once('='));
        for (_, path) in given.filter(|(name, _)| *name == program.test) {
            programs.push((program.clone(), PathBuf::from(path)));
        }
    }
    let plan = Plan {
        directory: arguments.out.clone(),
        backend: arguments.backend.clone(),
        only: arguments.only.clone(),
        programs,
        full: arguments.full,
        jobs: arguments.jobs.max(1),
        target: arguments.target.as_deref().map(Target::read).transpose().map_err(anyhow::Error::msg)?,
    };
    let run = run_host(&plan, &mut |line| {
        let mut out = std::io::stdout();
        // A closed pipe must not end a proof half-way.
        let _closed = writeln!(out, "{line}").and_then(|()| out.flush());
    });
    let path = arguments.out.join(format!("{}.json", arguments.name));
    std::fs::write(&path, serde_json::to_string(&run)?).with_context(|| format!("write {}", path.display()))?;
    if let Some(word) = &arguments.print_behind {
        print_in_lines(word, &serde_json::to_string(&run)?);
    }
    Ok(if run.objections().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A console has its limits: short lines, ASCII only.
fn print_in_lines(word: &str, text: &str) {
    const LENGTH: usize = 900;
    let ascii: String = text.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect();
    for chunk in ascii.as_bytes().chunks(LENGTH) {
        // Bars, since a console may take away spaces at the end of a line.
        println!("{word}|{}|", String::from_utf8_lossy(chunk));
    }
}

fn report(arguments: &ReportArguments) -> Result<ExitCode> {
    let mut runs: Vec<HostRun> = Vec::new();
    for path in &arguments.runs {
        let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        runs.push(serde_json::from_str(&text).with_context(|| format!("read {}", path.display()))?);
    }
    let proof = Proof::of(runs, &arguments.commit, if arguments.full { "full" } else { "quick" });
    let json = serde_json::to_string_pretty(&proof)? + "\n";
    let statement = serde_json::to_string_pretty(&statement(&proof, &json))? + "\n";
    let files = [
        ("report.html", html(&proof)),
        ("junit.xml", junit(&proof)),
        ("statement.json", statement),
        ("report.json", json),
    ];
    for (name, text) in files {
        let path = arguments.out.join(name);
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    print!("{}", summary(&proof));
    Ok(if proof.proved { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
