//! A run that is over, and what has to be true of it.

use std::process::ExitStatus;
use std::time::Duration;

use rustbox_core::RunReport;

/// A run that is over.
#[derive(Debug)]
pub struct EndedBox {
    /// Its id.
    pub box_id: String,
    /// How rustbox ended.
    pub status: ExitStatus,
    /// From its start to its end.
    pub elapsed: Duration,
    /// What the payload printed.
    pub stdout: String,
    /// What rustbox (and the payload) printed.
    pub stderr: String,
    pub(crate) report: Option<RunReport>,
    pub(crate) left: Vec<String>,
}

impl EndedBox {
    /// The report.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn report(&self) -> &RunReport {
        self.report.as_ref().unwrap_or_else(|| panic!("no report: {self}"))
    }

    /// The report, if one was written.
    #[must_use]
    pub fn try_report(&self) -> Option<&RunReport> {
        self.report.as_ref()
    }

    /// What rustbox exited with.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// What the kernel showed of the box at the moment when rustbox had returned.
    #[must_use]
    pub fn left(&self) -> &[String] {
        &self.left
    }

    /// Asserts that nothing was left when rustbox returned, by the kernel and by the report.
    ///
    /// # Panics
    /// When something was.
    pub fn assert_contained(&self) -> &Self {
        assert!(self.left.is_empty(), "left over: {:#?}\n{self}", self.left);
        if let Some(report) = &self.report {
            let proof = &report.containment;
            assert_eq!(proof.verdict, rustbox_core::ContainmentVerdict::Contained, "{self}");
            assert_eq!(proof.survivors, Some(0), "{self}");
            assert_eq!(proof.cgroup_removed, Some(true), "{self}");
        }
        self
    }

    /// Asserts verdict and exit code.
    ///
    /// # Panics
    /// When they are others.
    pub fn assert_verdict(&self, status: &str, cause: &str, code: i32) -> &Self {
        let report = self.report();
        let seen = (report.status.as_str(), report.cause.as_str(), self.code(), i32::from(report.exit_code));
        assert_eq!(seen, (status, cause, Some(code), code), "{self}");
        self
    }

    /// Asserts that the payload said this.
    ///
    /// # Panics
    /// When it did not.
    pub fn assert_said(&self, text: &str) -> &Self {
        assert!(self.stdout.contains(text), "the payload did not say {text:?}: {self}");
        self
    }
}

impl std::fmt::Display for EndedBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let report = self.report.as_ref().map(serde_json::to_string_pretty);
        let report = report.and_then(Result::ok).unwrap_or_else(|| "none".to_owned());
        let head = |text: &str| text.chars().take(4000).collect::<String>();
        writeln!(f, "box {} ended with {} after {:?}", self.box_id, self.status, self.elapsed)?;
        writeln!(f, "stdout: {}\nstderr: {}\nreport: {report}", head(&self.stdout), head(&self.stderr))
    }
}
