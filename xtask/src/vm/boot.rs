//! Starts QEMU, passes the guest's console on, and finds the exit code in it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::image::Image;
use super::kernel::Kernel;

/// Ends QEMU when it is dropped, so that no way out of here leaves one running.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        // Both fail only for a process that has already ended and was waited for.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// How the guest's job ended.
#[derive(Debug)]
pub(super) struct End {
    /// Its exit code.
    pub(super) code: u8,
    /// What it told us behind the word of [`told`].
    pub(super) told: String,
}

/// The word before each `|piece|` of what the guest's job tells us, and which is not for the terminal.
pub(super) fn told(marker: &str) -> String {
    format!("{marker}+")
}

/// Boots, and returns how the guest's job ended.
pub(super) fn run(kernel: &Kernel, image: &Image, limit: Duration) -> Result<End> {
    println!("booting the virtual machine, for {} s at most", limit.as_secs());
    let started = Instant::now();
    let mut machine = Machine(qemu(kernel, image).spawn().context("start qemu-system-x86_64")?);
    let console = machine.0.stdout.take().context("the console of QEMU is a pipe")?;
    let mut told = String::new();
    let code = watch(&lines(console), &image.marker, started + limit, &mut std::io::stdout(), &mut told)?;
    let Some(code) = code else { bail!("the guest ended without a result") };
    println!("the guest's job exited with {code} after {:.1} s", started.elapsed().as_secs_f64());
    Ok(End { code, told })
}

fn qemu(kernel: &Kernel, image: &Image) -> Command {
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-accel", "tcg", "-cpu", kernel.cpu, "-smp", "2", "-m", "2G", "-nic", "none"]);
    qemu.args(["-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot"]);
    qemu.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(&image.path);
    // A panic restarts at once, which -no-reboot turns into the end. Of the kernel's messages only the last words are
    // shown: every memory limit that a test reaches would be one. The emulated TSC is one clock for all CPUs, and with
    // it a program reads the time without a system call, as it does on a real machine.
    let words = format!("console=ttyS0 loglevel=1 panic=-1 clocksource=tsc tsc=reliable {}", image.append);
    qemu.args(["-append", words.trim_end()]);
    qemu.stdin(Stdio::null()).stdout(Stdio::piped());
    qemu
}

/// The console's lines. A thread reads them, because a pipe has no deadline and the machine has one.
fn lines(console: ChildStdout) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Passes lines on until the console is closed; fails at the deadline.
fn watch(
    lines: &Receiver<Vec<u8>>,
    marker: &str,
    deadline: Instant,
    out: &mut impl Write,
    kept: &mut String,
) -> Result<Option<u8>> {
    let mut code = None;
    let word = told(marker);
    loop {
        let line = match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => return Ok(code),
            Err(RecvTimeoutError::Timeout) => bail!("the guest was ended: its time was up"),
        };
        let text = String::from_utf8_lossy(&line);
        if let Some(piece) = text.strip_prefix(&word) {
            kept.push_str(piece.trim_end().trim_matches('|'));
            continue;
        }
        match text.trim_end().strip_prefix(marker) {
            Some(number) => code = number.trim().parse().ok(),
            None => writeln!(out, "{}", text.trim_end_matches('\r')).context("pass on the guest's console")?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(lines: &[&str]) -> Result<Option<u8>> {
        let (sender, receiver) = mpsc::channel();
        for line in lines {
            sender.send(line.as_bytes().to_vec())?;
        }
        drop(sender);
        watch(&receiver, "marker", Instant::now() + Duration::from_secs(5), &mut Vec::new(), &mut String::new())
    }

    #[test]
    fn only_the_marked_line_is_a_result() -> Result<()> {
        assert_eq!(watched(&["marker 3\r"])?, Some(3));
        assert_eq!(watched(&["exit 0", "0"])?, None);
        assert_eq!(watched(&[])?, None);
        Ok(())
    }

    #[test]
    fn what_the_guest_tells_us_is_put_together_again() -> Result<()> {
        let (sender, receiver) = mpsc::channel();
        for line in ["marker+|{\"a\": |\r", "seen", "marker+|1}|", "marker 0"] {
            sender.send(line.as_bytes().to_vec())?;
        }
        drop(sender);
        let (mut out, mut kept) = (Vec::new(), String::new());
        let code = watch(&receiver, "marker", Instant::now() + Duration::from_secs(5), &mut out, &mut kept)?;
        assert_eq!((code, kept.as_str(), out.as_slice()), (Some(0), "{\"a\": 1}", b"seen\n".as_slice()));
        Ok(())
    }

    #[test]
    fn a_guest_that_does_not_end_is_a_failure() {
        let (_open, receiver) = mpsc::channel();
        assert!(watch(&receiver, "marker", Instant::now(), &mut Vec::new(), &mut String::new()).is_err());
    }
}
