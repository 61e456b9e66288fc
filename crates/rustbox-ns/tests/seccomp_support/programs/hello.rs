//! Threads and child processes of a Rust program.
fn main() {
    let n = std::thread::spawn(|| 42).join().unwrap();
    let output = std::process::Command::new("echo").arg("hi").output().unwrap();
    print!("hello from Rust {n} {}", String::from_utf8_lossy(&output.stdout));
}
