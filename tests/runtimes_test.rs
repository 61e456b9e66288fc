//! Ordinary compilers and runtimes work in a box, under the default filter and the default limits.
//!
//! Each is Debian's own, by its path: what a developer has in a home directory is not in the box.

use rustbox_tests::{Lab, skip_unless};

/// Runs a shell text in a box that has `tool`; it must print 42 and end with 0.
fn works(name: &str, tool: &str, text: &str) {
    works_with(name, tool, text, &[]);
}

fn works_with(name: &str, tool: &str, text: &str, more: &[&str]) {
    let there = if std::path::Path::new(tool).exists() { Ok(()) } else { Err(format!("no {tool}")) };
    if !skip_unless(name, there) {
        return;
    }
    let lab = Lab::open(name);
    for seccomp in ["errno", "kill"] {
        let flags = ["--seccomp", seccomp, "--wall-time", "30", "--pids", "128"];
        let ended = lab.a_box().argv(["/bin/sh", "-ec", text]).flags(flags).flags(more).finish();
        assert_eq!(ended.report().status.as_str(), "OK", "{name} with --seccomp {seccomp}: {ended}");
        ended.assert_contained().assert_verdict("OK", "normal_exit", 0);
        assert_eq!(ended.stdout.trim(), "42", "{name}: {ended}");
    }
}

const C: &str = "cat > a.c <<'E'\n#include <stdio.h>\n#include <pthread.h>\nstatic void *f(void *p) { return p; }\n\
    int main(void) { pthread_t t; pthread_create(&t, 0, f, 0); pthread_join(t, 0); printf(\"%d\\n\", 6 * 7); }\nE\n";

#[test]
fn gcc_compiles_and_its_program_runs() {
    works("gcc", "/usr/bin/gcc", &format!("{C}/usr/bin/gcc -O2 -pthread a.c -o a && ./a"));
}

#[test]
fn gxx_compiles_and_its_program_runs() {
    let text = "cat > a.cc <<'E'\n#include <iostream>\n#include <thread>\n#include <vector>\n\
        int main() { std::vector<int> v(42, 1); std::thread t([&] { v.pop_back(); }); t.join(); v.push_back(1); \
        try { throw v.size(); } catch (size_t n) { std::cout << n << std::endl; } }\nE\n\
        /usr/bin/g++ -O2 -pthread a.cc -o a && ./a";
    works("gxx", "/usr/bin/g++", text);
}

#[test]
fn rustc_compiles_and_its_program_runs() {
    let text = "cat > a.rs <<'E'\nfn main() { let t = std::thread::spawn(|| 6 * 7); println!(\"{}\", t.join().unwrap()); }\nE\n\
        /usr/bin/rustc a.rs -o a && ./a";
    works("rustc", "/usr/bin/rustc", text);
}

#[test]
fn python_runs_with_threads_and_subprocesses() {
    let text = "cat > a.py <<'E'\nimport subprocess, threading, multiprocessing, os, tempfile, json\n\
        def f(q): q.put(40)\n\
        q = multiprocessing.Queue(); p = multiprocessing.Process(target=f, args=(q,)); p.start(); n = q.get(); p.join()\n\
        t = threading.Thread(target=lambda: None); t.start(); t.join()\n\
        n += int(subprocess.run(['/bin/echo', '2'], capture_output=True).stdout)\n\
        tempfile.TemporaryFile().write(b'x'); assert os.cpu_count() > 0\nprint(n)\nE\n/usr/bin/python3 a.py";
    works("python3", "/usr/bin/python3", text);
}

#[test]
fn node_runs_with_workers_and_children() {
    let text = "cat > a.js <<'E'\nconst { Worker, isMainThread, parentPort } = require('worker_threads');\n\
        if (isMainThread) { const w = new Worker(__filename); w.on('message', n => { const o = require('child_process').execFileSync('/bin/echo', ['2']);\n\
        require('fs').promises.writeFile('/tmp/x', 'y').then(() => console.log(n + Number(o))); }); }\n\
        else parentPort.postMessage(40);\nE\n/usr/bin/node a.js";
    works("node", "/usr/bin/node", text);
}

#[test]
fn java_runs_with_threads_and_children() {
    let text = "cat > A.java <<'E'\npublic class A { public static void main(String[] a) throws Exception {\n\
        var n = new java.util.concurrent.FutureTask<Integer>(() -> 40); new Thread(n).start();\n\
        var p = new ProcessBuilder(\"/bin/echo\", \"2\").start();\n\
        int m = Integer.parseInt(new String(p.getInputStream().readAllBytes()).trim());\n\
        System.out.println(n.get() + m); } }\nE\n/usr/bin/java -XX:+UseSerialGC A.java";
    works("java", "/usr/bin/java", text);
}

#[test]
fn go_compiles_and_its_program_runs() {
    let text = "cat > a.go <<'E'\npackage main\nimport (\"fmt\"; \"os/exec\"; \"strings\")\n\
        func main() { c := make(chan int); go func() { c <- 40 }(); o, _ := exec.Command(\"/bin/echo\", \"2\").Output(); \
        m := 0; fmt.Sscan(strings.TrimSpace(string(o)), &m); fmt.Println(<-c + m) }\nE\n\
        export GOCACHE=/box/cache GOPATH=/box/go GOTOOLCHAIN=local GOFLAGS=-mod=mod; /usr/bin/go run a.go";
    works_with("go", "/usr/bin/go", text, &["--box-size", "512M"]);
}

#[test]
fn perl_runs_with_children() {
    let text = "cat > a.pl <<'E'\nuse strict; my $n = `/bin/echo 2`; my $pid = fork; exit 7 unless $pid; waitpid $pid, 0; \
        print 33 + $n + ($? >> 8), \"\\n\";\nE\n/usr/bin/perl a.pl";
    works("perl", "/usr/bin/perl", text);
}

#[test]
fn a_shell_pipeline_runs() {
    works("sh", "/bin/sh", "seq 1 100 | awk '{ s += $1 } END { print s - 5008 }' | sort | tee /tmp/out | cat");
}
