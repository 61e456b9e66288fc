//! The pen of the controls leaves nothing, also when it fails itself.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Output};

use rustbox_tests::CgroupLayout;

/// A pen of this name for this program.
fn pen(name: &str, program: &str) -> Output {
    let mut command = Command::new(
        std::env::var_os("RUSTBOX_PEN")
            .map_or_else(|| Path::new(env!("CARGO_BIN_EXE_containment-pen")).to_owned(), std::path::PathBuf::from),
    );
    command.args([name, "--", program]).output().expect("start a pen")
}

#[test]
fn a_pen_that_fails_leaves_nothing() {
    let name = |case: &str| format!("containment-pen-{}-{case}", std::process::id());
    let lab = rustbox_tests::Lab::open("pen");
    let text = lab.path().join("text");
    std::fs::write(&text, "no program\n").expect("a file that is no program");
    let cases = [("missing", Path::new("/nonexistent/program")), ("text", &text)];
    for (case, program) in cases {
        let name = name(case);
        let output = pen(&name, &program.display().to_string());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("panicked"), "{case}: {output:?}");
        assert_eq!(CgroupLayout::read().directories(&name), [""; 0].map(Path::new), "{case}: {said}");
        assert!(!Path::new("/var/lib").join(&name).exists(), "{case}: {said}");
    }
    // The same without the failure, so that there was something to leave.
    let output = pen(&name("whole"), "/bin/true");
    assert!(output.status.success(), "{output:?}");
}
