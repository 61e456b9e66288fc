//! The proof's own reports: that the judge can say no, that what is written is what was seen, and that the page shows in a
//! real browser what the JSON says.
#![expect(clippy::expect_used, reason = "a test fails by panicking, in its helpers as well")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustbox_tests::proof::{
    Attack, Fact, HostComparison, HostRun, Outcome, Part, Proof, Seen, SeenControl, Skipped, hex, html, judge_box,
    judge_control, junit, payload_table, proof_schema, statement,
};
use rustbox_tests::{Lab, PidFd, skip_unless};

/// What a payload could print to get into a report.
const HOSTILE: &str = "</pre></details><script>document.title='owned'</script><img src=x onerror=alert(1)>&amp;]]>\"'";

/// A run in which every attack of the table came to something, in turn to each outcome.
fn a_run(shape: &str, outcomes: &[Outcome]) -> HostRun {
    let mut attacks = Vec::new();
    for (number, (payload, case)) in payload_table().iter().flat_map(|p| p.case.iter().map(move |c| (p, c))).enumerate()
    {
        let mut attack = Attack::planned(payload, case);
        attack.outcome = outcomes[number % outcomes.len()];
        attack.verdict = case.expect.verdict().to_owned();
        attack.output = vec![format!("{}: {HOSTILE}", payload.name)];
        match attack.outcome {
            Outcome::Failed => attack.objections.push(format!("left over: {HOSTILE}")),
            Outcome::NotProved => attack.control_objections.push("ended with Some(0)".to_owned()),
            Outcome::Skipped => attack.seen.push("no script(1)".to_owned()),
            Outcome::Held => {}
        }
        attacks.push(attack);
    }
    let mut part = Part::new("spawn-race", "no process is outside", &["S08"]);
    (0..1000).for_each(|_| part.count(Ok(())));
    part.skipped.push(Skipped { what: "fault".to_owned(), why: HOSTILE.to_owned() });
    HostRun {
        shape: shape.to_owned(),
        target: "rustbox".to_owned(),
        kernel: "6.1.0".to_owned(),
        cpus: 2,
        binary_sha256: hex(b"rustbox"),
        started_at: "2026-01-02T03:04:05Z".to_owned(),
        seconds: 12.5,
        planned: attacks.len() + 1,
        attacks,
        parts: vec![part],
        missing: Vec::new(),
        host: HostComparison { compared: BTreeMap::from([("mounts".to_owned(), 20)]), differences: Vec::new() },
    }
}

fn a_mixed_proof() -> Proof {
    let every = [Outcome::Held, Outcome::Failed, Outcome::Held, Outcome::NotProved, Outcome::Skipped];
    Proof::of(vec![a_run("hybrid", &[Outcome::Held]), a_run("v2 guest 6.1.0", &every)], "0123abcd-dirty", "quick")
}

fn count(proof: &Proof, outcome: Outcome) -> usize {
    proof.runs.iter().map(|run| run.count(outcome)).sum()
}

#[test]
fn a_proof_is_proved_only_when_everything_was_done_and_held() {
    let whole = || a_run("hybrid", &[Outcome::Held]);
    assert!(Proof::of(vec![whole()], "x", "quick").proved);
    assert!(!Proof::of(Vec::new(), "x", "quick").proved, "nothing was run");
    let spoil = |change: fn(&mut HostRun)| {
        let mut run = whole();
        change(&mut run);
        let proof = Proof::of(vec![run], "x", "quick");
        assert!(!proof.proved && !proof.objections.is_empty(), "{:?}", proof.objections);
    };
    spoil(|run| run.attacks[3].outcome = Outcome::Failed);
    spoil(|run| run.attacks[3].outcome = Outcome::NotProved);
    spoil(|run| drop(run.attacks.pop()));
    spoil(|run| drop(run.parts.pop()));
    spoil(|run| run.missing.push("race_proof_test could not be run".to_owned()));
    spoil(|run| run.host.differences.push("mounts: new: /tmp/x".to_owned()));
    spoil(|run| run.parts[0].count(Err("one was outside".to_owned())));
    // B13: the same attack has the same verdict everywhere.
    let mut other = a_run("v2", &[Outcome::Held]);
    other.attacks[0].verdict = "IE ie_setup 125".to_owned();
    let proof = Proof::of(vec![whole(), other], "x", "quick");
    assert!(!proof.proved && proof.parity.differences.len() == 1, "{:?}", proof.parity);
}

#[test]
fn the_judge_takes_no_other_evidence_for_the_one_that_was_asked_for() {
    let table = payload_table();
    let mount = table.iter().find(|p| p.name == "contain_mount").expect("contain_mount");
    let asked = &mount.case[0].expect;
    let lab = Lab::open("judge");
    let ended = lab.a_box().attack(&mount.name, &[]).finish();
    let good = Seen {
        code: ended.code(),
        stdout: ended.stdout.clone(),
        stderr: ended.stderr.clone(),
        report: ended.try_report().cloned(),
        left: ended.left().to_vec(),
        elapsed: ended.elapsed,
    };
    assert_eq!(judge_box(&mount.name, asked, &good), [""; 0]);
    let refused = |what: &str, change: &dyn Fn(&mut Seen)| {
        let mut seen = good.clone();
        change(&mut seen);
        assert!(!judge_box(&mount.name, asked, &seen).is_empty(), "{what} is taken for evidence");
    };
    refused("another errno", &|s| s.stdout = s.stdout.replace("mount(tmpfs) = EPERM", "mount(tmpfs) = ENOSYS"));
    refused("a success", &|s| s.stdout = s.stdout.replace("mount(tmpfs) = EPERM", "mount(tmpfs) = OK"));
    refused("a longer line", &|s| s.stdout = s.stdout.replace("pivot_root = EPERM", "pivot_root = EPERM, or so"));
    refused("silence", &|s| s.stdout.clear());
    refused("no report", &|s| s.report = None);
    refused("something left over", &|s| s.left.push("process 7".to_owned()));
    refused("another exit code", &|s| s.code = Some(1));
    refused("an unknown containment", &|s| {
        s.report.as_mut().expect("a report").containment.verdict = rustbox_core::ContainmentVerdict::Unknown;
    });
    refused("a survivor that was not counted", &|s| s.report.as_mut().expect("a report").containment.survivors = None);
    let mut more = asked.clone();
    more.at_least.insert(Fact::Killed, 1);
    assert!(!judge_box(&mount.name, &more, &good).is_empty(), "nobody was killed");
    more.at_least.clear();
    more.states = "T".to_owned();
    assert!(!judge_box(&mount.name, &more, &good).is_empty(), "nobody was stopped");
}

#[test]
fn the_judge_takes_a_control_that_failed_for_no_control() {
    let table = payload_table();
    let control = |name: &str| &table.iter().find(|p| p.name == name).expect("a payload").case[0].control;
    let seen = |main, survivors, stdout: &str| SeenControl { main, survivors, stdout: stdout.to_owned() };
    let judge = |name, seen| judge_control(control(name), &seen).is_empty();
    assert!(judge("contain_double_fork", seen(Some(0), 1, "contain_double_fork: armed: x\n")));
    assert!(!judge("contain_double_fork", seen(Some(0), 0, "contain_double_fork: armed: x\n")), "nothing outlived it");
    assert!(!judge("contain_double_fork", seen(Some(91), 1, "contain_double_fork: inconclusive: fork: EAGAIN\n")));
    assert!(judge("contain_mount", seen(Some(90), 0, "contain_mount: escaped: 1 attempts succeeded\n")));
    assert!(!judge("contain_mount", seen(Some(0), 0, "contain_mount: contained\n")), "it fails without a box");
    assert!(!judge("contain_busy_loop", seen(Some(0), 0, "")), "it ended by itself");
}

#[test]
fn the_report_follows_its_published_schema() {
    let published = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema/proof.v1.json");
    let text = std::fs::read_to_string(published).expect("docs/schema/proof.v1.json");
    let how = "cargo run -p rustbox-tests --bin containment-proof schema > docs/schema/proof.v1.json";
    assert!(text == proof_schema(), "run: {how}");
    let schema: serde_json::Value = serde_json::from_str(&text).expect("a schema");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let report = serde_json::to_value(a_mixed_proof()).expect("a report");
    assert!(validator.is_valid(&report), "{:?}", validator.iter_errors(&report).map(|e| e.to_string()).next());
    let mut wrong = report.clone();
    wrong["runs"][0]["attacks"][0]["outcome"] = "fine".into();
    assert!(!validator.is_valid(&wrong), "the schema accepts an outcome that is none");
    let back: Proof = serde_json::from_value(report).expect("the report reads back");
    assert_eq!(back, a_mixed_proof());
}

#[test]
fn junit_and_the_statement_say_what_the_report_says() {
    let proof = a_mixed_proof();
    let xml = junit(&proof);
    let failed = count(&proof, Outcome::Failed) + count(&proof, Outcome::NotProved);
    assert_eq!(xml.matches("<failure").count(), failed);
    assert_eq!(xml.matches("<skipped").count(), count(&proof, Outcome::Skipped));
    assert!(!xml.contains("<script>"), "what a payload prints is an element of the XML");
    let told = statement(&proof, "{}");
    assert_eq!(told["predicate"]["result"], "FAILED");
    assert_eq!(told["subject"][0]["digest"]["sha256"], hex(b"rustbox"));
    let length = |key: &str| told["predicate"][key].as_array().map_or(0, Vec::len);
    assert_eq!(length("passedTests"), count(&proof, Outcome::Held));
    assert_eq!(length("failedTests"), count(&proof, Outcome::Failed));
    assert_eq!(told["predicate"]["configuration"][0]["digest"]["gitCommit"], "0123abcd");
    assert_eq!(told["predicate"]["configuration"][0]["annotations"]["dirty"], true);
}

/// Chromium under one of its names.
fn chromium() -> Result<PathBuf, String> {
    let candidates = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
    candidates.iter().map(PathBuf::from).find(|p| p.exists()).ok_or_else(|| "no chromium on this machine".to_owned())
}

/// What the browser made of a page, as HTML again, and a picture of it.
fn rendered(chromium: &Path, directory: &Path, page: &str) -> (String, Vec<u8>) {
    let (file, picture) = (directory.join("report.html"), directory.join("report.png"));
    std::fs::write(&file, page).expect("write the page");
    let run = |what: &str| {
        let mut browser = Command::new(chromium);
        browser.args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--window-size=1400,2000"]);
        browser.arg(format!("--user-data-dir={}", directory.join("profile").display())).arg(what);
        browser
            .arg(format!("file://{}", file.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = browser.spawn().expect("start chromium");
        let pidfd = PidFd::open(child.id()).expect("pidfd of chromium");
        // The page is larger than a pipe: somebody has to read while it is written.
        let mut pipe = child.stdout.take().expect("a pipe");
        let reader = std::thread::spawn(move || {
            let mut text = Vec::new();
            std::io::Read::read_to_end(&mut pipe, &mut text).map(|_| text)
        });
        if !pidfd.wait(Duration::from_secs(90)) {
            let _late = child.kill();
        }
        let status = child.wait().expect("reap chromium");
        assert!(status.success(), "chromium: {status}");
        String::from_utf8_lossy(&reader.join().expect("the reader").expect("read")).into_owned()
    };
    let dom = run("--dump-dom");
    run(&format!("--screenshot={}", picture.display()));
    (dom, std::fs::read(&picture).expect("a picture"))
}

#[test]
fn the_page_shows_in_a_browser_what_the_json_says() {
    let chromium = chromium();
    if !skip_unless("chromium", chromium.clone().map(drop)) {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let proof = a_mixed_proof();
    let (dom, picture) = rendered(&chromium.expect("chromium"), directory.path(), &html(&proof));
    for (class, outcome) in [
        ("held", Outcome::Held),
        ("failed", Outcome::Failed),
        ("not_proved", Outcome::NotProved),
        ("skipped", Outcome::Skipped),
    ] {
        let cells = dom.matches(&format!("<details class=\"{class}\"><summary>{} ·", outcome.word())).count();
        assert_eq!(cells, count(&proof, outcome), "cells that are {class}");
    }
    assert!(dom.contains("<span id=\"verdict\" class=\"unproved\">NOT PROVED</span>"), "the verdict");
    let items = dom.split("<ul id=\"objections\">").nth(1).and_then(|t| t.split("</ul>").next()).expect("objections");
    assert_eq!(items.matches("<li>").count(), proof.objections.len());
    assert!(dom.contains("0 of 1000 failed (95 % bound 3.0e-3)"), "the part's count and bound");
    // What a payload printed stayed text: no element of it, and the title is ours.
    assert!(
        dom.contains("<title>rustbox: containment proof</title>") && !dom.contains("<script"),
        "a payload's script ran"
    );
    assert!(!dom.contains("<img"), "a payload's element is one of the page");
    assert!(picture.starts_with(b"\x89PNG") && picture.len() > 20_000, "{} bytes of a picture", picture.len());
}
