//! Boxes of one program with many threads: what one thread has open while another clones must not reach, hold
//! up or outlive the other's box.
#![expect(clippy::unwrap_used, reason = "a test panics where it is wrong, helpers too")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::time::Duration;

use rustbox_core::{BindAccess, ByteSize, RunSpec, Status};
use rustbox_supervisor::{Host, Places, RunIo, run};

const THREADS: usize = 8;
const BOXES: usize = 4;

/// Makes a directory of this test's own; the name is not to be had by anybody else.
fn directory() -> PathBuf {
    let path = std::env::temp_dir().join(format!("rustbox-threads-{}", std::process::id()));
    fs::create_dir(&path).unwrap();
    path
}

/// One box with every kind of descriptor that a box can have; what its payload sees of them.
fn descriptors_in_a_box(host: &Host, work: &str, output: PathBuf) -> (Status, String) {
    let spec = RunSpec {
        argv: ["ls", "/proc/self/fd"].map(Into::into).to_vec(),
        binds: vec![(format!("{work}:/box"), BindAccess::Writable)],
        stdout: Some(output.clone()),
        output_limit: Some(ByteSize(1 << 20)),
        ..RunSpec::default()
    };
    let plan = spec.validate().unwrap();
    let report = run(host, &plan, RunIo { interrupt: None, observer: &mut |_| {} }).unwrap();
    let seen = fs::read_to_string(output).unwrap();
    (report.status, if report.status == Status::Ok { seen } else { report.message })
}

#[test]
fn boxes_of_many_threads_neither_see_nor_wait_for_each_other() {
    if std::env::var_os("RUSTBOX_CI").is_none() && fs::metadata("/proc/self").unwrap().uid() != 0 {
        eprintln!("SKIP: boxes need root");
        return;
    }
    let directory = directory();
    let (done, all_done) = channel();
    for thread in 0..THREADS {
        let (done, directory) = (done.clone(), directory.clone());
        std::thread::spawn(move || {
            let places = Places { state_dir: directory.join("state"), ..Places::default() };
            let host = Host::open(&places, None).unwrap();
            let work = directory.join(format!("work-{thread}"));
            fs::create_dir(&work).unwrap();
            for index in 0..BOXES {
                let output = directory.join(format!("out-{thread}-{index}"));
                done.send(descriptors_in_a_box(&host, work.to_str().unwrap(), output)).unwrap();
            }
        });
    }
    let runs: Vec<_> =
        (0..THREADS * BOXES).map(|_| all_done.recv_timeout(Duration::from_secs(120)).expect("a box hangs")).collect();
    let left = fs::read_dir(directory.join("state/boxes")).unwrap().count();
    fs::remove_dir_all(&directory).unwrap();
    for (status, seen) in runs {
        // 3 is the directory that `ls` reads.
        assert_eq!((status, seen.as_str()), (Status::Ok, "0\n1\n2\n3\n"));
    }
    assert_eq!(left, 0, "records are left");
}
