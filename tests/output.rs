//! An agent's output under a hbsidecar that reads it: every byte, whoever is slow, full or killed; and what real programs
//! print of their progress.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]
#![expect(clippy::disallowed_methods, reason = "tests run the real world")]

mod support;

use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use support::alone::{line, sidecar};
use support::fleet::{Agent, Fleet};
use support::{Running, eventually};

/// Reads nothing that any agent here prints.
const PATTERN: &str = "never (?P<progress>[0-9]+)%";
/// Prints a numbered line on both outputs whenever the file it names grows by a line; ends with it.
const PRINTER: &str = r#"
import os, sys, time
said = 0
print("ready", flush=True)
while True:
    want = sum(1 for _ in open(sys.argv[1]))
    while said < want:
        said += 1
        print("out", said, flush=True)
        print("err", said, file=sys.stderr, flush=True)
    if want >= 3: break
    time.sleep(0.02)
"#;

/// A printer under hbsidecar, its outputs in files.
struct Printer {
    sidecar: Running,
    dir: tempfile::TempDir,
}

impl Printer {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("go"), "").unwrap();
        let mut command = sidecar(&[
            "--restart",
            "never",
            "--progress-regex",
            PATTERN,
            "--",
            "python3",
            "-c",
            PRINTER,
        ]);
        command.arg(dir.path().join("go"));
        command.stdout(File::create(dir.path().join("out")).unwrap());
        command.stderr(File::create(dir.path().join("err")).unwrap());
        let printer = Self {
            sidecar: Running::start(&mut command),
            dir,
        };
        line(&printer.dir.path().join("out"));
        printer
    }

    fn go(&self, lines: usize) {
        std::fs::write(self.dir.path().join("go"), "x\n".repeat(lines)).unwrap();
    }

    fn printed(&self, lines: usize) {
        let expected: String = (1..=lines).map(|n| format!("out {n}\n")).collect();
        eventually("the lines are there", || {
            let out = std::fs::read_to_string(self.dir.path().join("out")).unwrap();
            let err = std::fs::read_to_string(self.dir.path().join("err")).unwrap();
            let err: Vec<&str> = err.lines().filter(|line| line.starts_with("err")).collect();
            (out == format!("ready\n{expected}") && err.len() == lines).then_some(())
        });
    }

    /// The process that copies.
    fn copier(&self) -> i32 {
        let mut pgrep = Command::new("pgrep");
        pgrep.args(["-P", &self.sidecar.pid().to_string(), "-x", "hb-output"]);
        let found = pgrep.output().unwrap();
        String::from_utf8(found.stdout)
            .unwrap()
            .trim()
            .parse()
            .unwrap()
    }
}

fn gone(pid: i32) {
    eventually("the process is gone", || {
        support::alone::state(pid)
            .is_none_or(|state| state == 'Z')
            .then_some(())
    });
}

#[test]
fn a_reader_that_begins_late_gets_every_byte() {
    let mut command = sidecar(&["--progress-regex", PATTERN, "--"]);
    command.args(["python3", "-c", "print('x' * 5_000_000)"]);
    let mut sidecar = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut out = sidecar.stdout.take().unwrap();
    // It takes what fits into pipes and then blocks; nothing is read before.
    let mut waiting = 0;
    eventually("the pipe takes no more", || {
        let before = std::mem::replace(&mut waiting, rustix::io::ioctl_fionread(&out).unwrap());
        (waiting > 0 && waiting == before).then_some(())
    });
    let mut got = Vec::new();
    out.read_to_end(&mut got).unwrap();
    assert!(sidecar.wait().unwrap().success());
    assert_eq!(got.len(), 5_000_001);
}

#[test]
fn the_end_of_hbsidecar_does_not_cut_the_tail() {
    let mut command = sidecar(&["--progress-regex", PATTERN, "--"]);
    // It fits into the pipe: agent and hbsidecar end before the first byte is read.
    command.args(["python3", "-c", "print('x' * 900_000)"]);
    let mut sidecar = command.stdout(Stdio::piped()).spawn().unwrap();
    assert!(sidecar.wait().unwrap().success());
    let mut got = Vec::new();
    sidecar
        .stdout
        .take()
        .unwrap()
        .read_to_end(&mut got)
        .unwrap();
    assert_eq!(got.len(), 900_001);
}

#[test]
fn an_agent_whose_hbsidecar_is_killed_prints_on() {
    let mut printer = Printer::start();
    let copier = printer.copier();
    printer.go(1);
    printer.printed(1);
    printer.sidecar.kill();
    printer.go(2);
    printer.printed(2);
    printer.go(3);
    printer.printed(3);
    gone(copier);
}

#[test]
fn a_full_disk_ends_no_agent_whose_hbsidecar_was_killed() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("small")).unwrap();
    let agent = "import os, time
open('up', 'w').write('up\\n')
while not os.path.exists('go'): time.sleep(0.01)
for n in range(64): os.write(1, b'x' * 4096)
open('done', 'w').write('done\\n')";
    let script = "mount -t tmpfs -o size=64k none small && exec \"$0\" \"$@\" > small/out";
    let mut unshare = support::clean(Path::new("unshare"));
    if !nix::unistd::geteuid().is_root() {
        unshare.arg("-r");
    }
    unshare
        .args(["-m", "sh", "-c", script])
        .arg(support::program("hbsidecar"))
        .args(["--redis-url", "redis://127.0.0.1:1", "--restart", "never"])
        .args(["--progress-regex", PATTERN, "--", "python3", "-c", agent])
        .current_dir(dir.path());
    let mut sidecar = Running::start(&mut unshare);
    line(&dir.path().join("up"));
    sidecar.kill();
    std::fs::write(dir.path().join("go"), "").unwrap();
    line(&dir.path().join("done"));
}

#[test]
fn an_agent_whose_copier_is_killed_prints_on() {
    let mut printer = Printer::start();
    support::signal(printer.copier(), "KILL");
    printer.go(2);
    printer.printed(2);
    printer.go(3);
    printer.printed(3);
    assert_eq!(printer.sidecar.exit_code(), Some(0));
}

#[test]
fn a_stopped_hbsidecar_holds_up_no_output() {
    let printer = Printer::start();
    printer.sidecar.signal("STOP");
    printer.go(2);
    printer.printed(2);
    printer.sidecar.signal("CONT");
    printer.go(3);
    printer.printed(3);
}

#[test]
fn an_output_that_nobody_reads_holds_up_neither_the_other_nor_the_end() {
    let script = "import sys, threading
threading.Thread(target=lambda: sys.stdout.write('x' * 9_000_000), daemon=True).start()
for n in range(3): print('err', n, file=sys.stderr, flush=True)
sys.stdin.read()";
    let mut command = sidecar(&[
        "--restart",
        "never",
        "--progress-regex",
        PATTERN,
        "--",
        "python3",
        "-c",
        script,
    ]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut sidecar = Running::spawn(&mut command);
    let mut lines = BufReader::new(sidecar.0.stderr.take().unwrap()).lines();
    for n in 0..3 {
        assert_eq!(lines.next().unwrap().unwrap(), format!("err {n}"));
    }
    sidecar.signal("TERM");
    sidecar.wait();
}

#[test]
fn an_agent_whose_reader_is_gone_ends_as_without_hbsidecar() {
    let mut command = sidecar(&[
        "--restart",
        "never",
        "--progress-regex",
        PATTERN,
        "--",
        "sh",
        "-c",
        "while echo x; do :; done",
    ]);
    let mut sidecar = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut first = [0; 2];
    sidecar
        .stdout
        .take()
        .unwrap()
        .read_exact(&mut first)
        .unwrap();
    let mut sidecar = Running(sidecar);
    assert_eq!(sidecar.exit_code(), Some(128 + 13));
}

#[test]
fn both_outputs_in_one_place_keep_their_order() {
    let script = "for n in $(seq 1 300); do echo out $n; echo err $n >&2; done";
    let dir = tempfile::tempdir().unwrap();
    let both = File::create(dir.path().join("both")).unwrap();
    let mut command = sidecar(&["--progress-regex", PATTERN, "--", "sh", "-c", script]);
    command.stdout(both.try_clone().unwrap()).stderr(both);
    assert!(command.status().unwrap().success());
    let expected: String = (1..=300).map(|n| format!("out {n}\nerr {n}\n")).collect();
    assert_eq!(
        std::fs::read_to_string(dir.path().join("both")).unwrap(),
        expected
    );
}

#[test]
fn an_output_that_is_not_read_is_the_agents_own() {
    let dir = tempfile::tempdir().unwrap();
    let (out, err) = (dir.path().join("out"), dir.path().join("err"));
    let mut command = sidecar(&[
        "--read-from",
        "stderr",
        "--progress-regex",
        PATTERN,
        "--",
        "sh",
        "-c",
    ]);
    command.arg("readlink /proc/$$/fd/1 /proc/$$/fd/2");
    command
        .stdout(File::create(&out).unwrap())
        .stderr(File::create(&err).unwrap());
    assert!(command.status().unwrap().success());
    let links = std::fs::read_to_string(&out).unwrap();
    let links: Vec<&str> = links.lines().collect();
    assert_eq!(links[0], out.canonicalize().unwrap().to_str().unwrap());
    assert!(links[1].starts_with("pipe:"), "{links:?}");
}

#[test]
fn a_line_without_an_end_a_bad_byte_and_a_byte_order_mark_cost_nothing() {
    let fleet = Fleet::start();
    for (id, flag, value, printed, told) in [
        (
            "open",
            "--progress-regex",
            r"(?P<progress>\d+)%",
            r"working 37%",
            json!({"taskProgress": 37.0}),
        ),
        (
            "appended",
            "--progress-regex",
            r"(?P<progress>\d+)%",
            r"10%... 37%\n",
            json!({"taskProgress": 10.0}),
        ),
        (
            "byte",
            "--progress-regex",
            r"(?P<task>caf\S+) (?P<progress>\d+)%",
            r"caf\351 38%\n",
            json!({"taskProgress": 38.0}),
        ),
        (
            "mark",
            "--read",
            "stream-json",
            r#"\357\273\277{"type":"thread.started"}\n{"type":"item.started","item":{"type":"caf\351"}}\n"#,
            json!({"currentTask": "caf\u{fffd}"}),
        ),
        (
            "last",
            "--read",
            "stream-json",
            r#"{"type":"item.started","item":{"type":"web"}}"#,
            json!({"currentTask": "web"}),
        ),
    ] {
        let mut command = fleet.hbsidecar(&["-q", "--id", id, flag, value, "--", "sh", "-c"]);
        command.args([
            r#"printf "$1"; exec sleep 1000"#,
            "sh",
            &printed.replace('%', "%%"),
        ]);
        let _agent = Agent::start(command.stdout(Stdio::null()));
        fleet.tells(id, &told);
    }
}

/// A program that prints its progress as it is, and then waits.
struct Tool {
    name: &'static str,
    script: String,
    flags: &'static [&'static str],
    told: Value,
}

fn tools(dir: &Path) -> Vec<Tool> {
    let python = support::venv().join("bin/python").display().to_string();
    let ffmpeg = format!(
        "\"$({python} -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')\""
    );
    let bar = &["--progress-regex", r"(?P<progress>\d+)%"];
    for (place, name) in [("cargo", "one"), ("cargo/dep", "two")] {
        std::fs::create_dir_all(dir.join(place).join("src")).unwrap();
        let mut manifest =
            format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n");
        if name == "one" {
            manifest += "[workspace]\n[dependencies]\ntwo = { path = \"dep\" }\n";
        }
        std::fs::write(dir.join(place).join("Cargo.toml"), manifest).unwrap();
        std::fs::write(dir.join(place).join("src/lib.rs"), "").unwrap();
    }
    std::fs::create_dir_all(dir.join("npm/dep")).unwrap();
    std::fs::write(dir.join("npm/package.json"), "{}").unwrap();
    std::fs::write(
        dir.join("npm/dep/package.json"),
        r#"{"name":"dep","version":"1.0.0"}"#,
    )
    .unwrap();
    let at = dir.display();
    vec![
        Tool {
            name: "tqdm",
            script: format!(
                "{python} -c 'import tqdm, time\nfor _ in tqdm.tqdm(range(20)): time.sleep(0.05)'"
            ),
            flags: bar,
            told: json!({"taskProgress": 100.0}),
        },
        Tool {
            name: "rich",
            script: format!(
                "{python} -c 'import time, rich.progress\nfor _ in rich.progress.track(range(20), \"Indexing\"): time.sleep(0.05)'"
            ),
            flags: bar,
            told: json!({"taskProgress": 100.0}),
        },
        Tool {
            name: "npm",
            script: format!(
                "cd {at}/npm && npm install --offline --no-audit --no-fund --loglevel=error ./dep"
            ),
            flags: &["--progress-regex", r"(?P<task>added \d+ package)"],
            told: json!({"currentTask": "added 1 package"}),
        },
        Tool {
            name: "cargo",
            script: format!("cd {at}/cargo && cargo build --offline --target-dir {at}/target"),
            flags: &["--progress-regex", r"Compiling (?P<task>one)"],
            told: json!({"currentTask": "one"}),
        },
        Tool {
            name: "ffmpeg",
            script: format!(
                "{ffmpeg} -loglevel info -stats_period 0.2 -re -f lavfi -i testsrc=duration=2:rate=10 -f null -"
            ),
            flags: &["--progress-regex", r"frame= *(?P<task>20)\b"],
            told: json!({"currentTask": "20"}),
        },
    ]
}

fn progress_is_found(terminal: bool) {
    let fleet = Fleet::start();
    for tool in tools(fleet.place.path()) {
        let script = format!("{}; exec sleep 1000", tool.script);
        let flags = [
            &["-q", "--id", tool.name],
            tool.flags,
            &["--", "sh", "-c", &script],
        ]
        .concat();
        let mut command = fleet.hbsidecar(&flags);
        if terminal {
            let program = command.get_program().to_owned();
            let words = std::iter::once(program.as_os_str()).chain(command.get_args());
            let quoted =
                words.map(|word| format!("'{}'", word.to_str().unwrap().replace('\'', r"'\''")));
            let line = quoted.collect::<Vec<_>>().join(" ");
            let line = format!("stty rows 24 cols 80; exec {line}");
            let environment: Vec<_> = command
                .get_envs()
                .map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned)))
                .collect();
            command = support::clean("script".as_ref());
            for (name, value) in environment {
                if let Some(value) = value {
                    command.env(name, value);
                }
            }
            command
                .args(["-qec", &line, "/dev/null"])
                .env("TERM", "xterm");
        }
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let _agent = Agent::start(&mut command);
        fleet.tells(tool.name, &tool.told);
    }
}

#[test]
fn real_programs_are_read_through_pipes() {
    progress_is_found(false);
}

#[test]
fn real_programs_are_read_through_a_terminal() {
    progress_is_found(true);
}
