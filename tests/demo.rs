//! The demo as a stranger runs it: twice at once, on a port that is taken, interrupted, and with a reader that goes away.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]
#![expect(clippy::disallowed_methods, reason = "tests run the real world")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{ChildStderr, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use support::pty::{CTRL_C, Terminal};
use support::{Running, clean, eventually, place, program};

/// The demo's own limit for one of its scenes.
const STORY_WITHIN: Duration = Duration::from_secs(180);

/// A demo with a place of its own for what it writes.
struct Demo {
    process: Running,
    stdout: BufReader<ChildStdout>,
    stderr: ChildStderr,
    place: tempfile::TempDir,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let place = place();
        let mut command = clean(&program("hbmonitor"));
        command
            .args(arguments)
            .env("TMPDIR", place.path())
            // Settings of its user's are no concern of the demo.
            .env("HB_AGENT_ID", "mine")
            .env("HB_RESTART", "never")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = Running::start(&mut command);
        Self {
            stdout: BufReader::new(process.0.stdout.take().unwrap()),
            stderr: process.0.stderr.take().unwrap(),
            process,
            place,
        }
    }

    /// The next line; empty at the end.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line
    }

    /// Reads up to a line with this text.
    fn until(&mut self, text: &str) {
        loop {
            let line = self.line();
            assert!(!line.is_empty(), "the demo ended before {text:?}");
            if line.contains(text) {
                return;
            }
        }
    }

    /// Waits for its end: exit code, and what it printed that was not read.
    fn end(&mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        self.stderr.read_to_string(&mut rest).unwrap();
        (self.process.exit_code(), rest)
    }

    /// Neither a process of it nor a file.
    fn has_left(&self) {
        nothing_is_left(self.place.path());
    }
}

/// No process names a place below this one, and nothing is in it.
fn nothing_is_left(place: &Path) {
    let below = format!("{}/hb-demo-", place.display());
    eventually(&format!("no process of {below} is left"), || {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let named = |entry: std::fs::DirEntry| {
            let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&command).contains(&below)
        };
        (!entries.into_iter().any(named)).then_some(())
    });
    let left: Vec<_> = std::fs::read_dir(place).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A real Chromium that watches the scenes on the pages of their agents.
struct Browser(Running);

impl Browser {
    /// It is there when the story begins.
    fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/demo.mjs");
        let mut node = Command::new("node");
        node.arg(script).stdin(Stdio::piped());
        node.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut browser = Self(Running::spawn(&mut node));
        let mut ready = [0; 6];
        let stdout = browser.0.0.stdout.as_mut().unwrap();
        let is_ready = stdout.read_exact(&mut ready).is_ok();
        if !is_ready {
            browser.has_seen_all();
        }
        browser
    }

    fn open(&mut self, address: &str) {
        let mut stdin = self.0.0.stdin.take().unwrap();
        writeln!(stdin, "http://{address}/").unwrap();
    }

    fn has_seen_all(&mut self) {
        let mut errors = String::new();
        let stderr = self.0.0.stderr.as_mut().unwrap();
        stderr.read_to_string(&mut errors).unwrap();
        assert_eq!(self.0.exit_code(), Some(0), "{errors}");
    }
}

/// All that followers of the monitor at this address are shown until it ends.
fn followed(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(STORY_WITHIN)).unwrap();
    let request = format!("GET /v1/events?recent=100 HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut shown = Vec::new();
    let _ = stream.read_to_end(&mut shown); // it ends with the monitor
    String::from_utf8_lossy(&shown).into_owned()
}

#[test]
fn the_story_comes_true_also_twice_at_once_and_where_the_port_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().to_string();
    let mut browser = Browser::start();
    let mut demos = [(); 2].map(|()| Demo::start(&["--listen", &port, "demo", "--once"]));
    let followers = [0, 1].map(|n| {
        let line = demos[n].line();
        let address = line.split("http://").nth(1).unwrap();
        let address = address.split('/').next().unwrap().to_owned();
        assert_ne!(address, port);
        if n == 0 {
            browser.open(&address);
        }
        std::thread::spawn(move || followed(&address))
    });
    for demo in &mut demos {
        let (code, story) = demo.end();
        assert_eq!(code, Some(0), "{story}");
        for part in [
            "Act two",
            "never stopped",
            "to you: ",
            "you: paged",
            "hbmonitor restart scraper-1",
            "The story came true",
        ] {
            assert!(story.contains(part), "{part:?} is not in {story}");
        }
        demo.has_left();
    }
    browser.has_seen_all();
    // The dashboard follows the same stream.
    for follower in followers {
        let shown = follower.join().unwrap();
        assert!(shown.contains("event: rung\n"), "no rung in {shown}");
        for reason in ["hung", "crash_loop", "heartbeat_lost"] {
            let of_reason = format!(r#""reason":"{reason}""#);
            let is_incident =
                |line: &str| line.contains(r#""change":"#) && line.contains(&of_reason);
            assert!(shown.lines().any(is_incident), "no {reason} in {shown}");
        }
    }
}

#[test]
fn a_demo_that_is_interrupted_ends_all_that_it_started() {
    let mut demo = Demo::start(&["--listen", "127.0.0.1:0", "demo", "--once"]);
    demo.until("Act two");
    demo.process.signal("INT");
    let (code, said) = demo.end();
    assert_eq!(code, Some(1));
    assert!(said.contains("interrupted"), "{said}");
    demo.has_left();
}

#[test]
fn a_demo_ends_when_no_one_reads_it_any_more() {
    let mut demo = Demo::start(&["--listen", "127.0.0.1:0", "demo"]);
    demo.until("Act one");
    let Demo {
        mut process,
        stdout,
        mut stderr,
        place,
    } = demo;
    drop(stdout);
    let started = Instant::now();
    let mut said = String::new();
    stderr.read_to_string(&mut said).unwrap();
    assert_eq!(
        process.exit_code(),
        Some(1),
        "after {:?}",
        started.elapsed()
    );
    assert!(said.contains("standard output"), "{said}");
    nothing_is_left(place.path());
}

#[test]
fn on_a_terminal_the_demo_opens_its_dashboard_in_the_browser() {
    let place = place();
    let (opened, all) = (place.path().join("opened"), place.path().join("all"));
    std::fs::create_dir(&all).unwrap();
    let mut terminal = Terminal::start();
    let script = format!("#!/bin/sh\necho \"$1\" >{}\n", opened.display());
    let browser = terminal.write("browser", &script);
    let made = Command::new("chmod").arg("+x").arg(&browser).status();
    assert!(made.unwrap().success());
    terminal.type_line(&format!(
        "export BROWSER={} TMPDIR={}",
        browser.display(),
        all.display()
    ));
    terminal.wait_for_prompt();
    let demo = program("hbmonitor");
    terminal.type_line(&format!("{} --listen 127.0.0.1:0 demo", demo.display()));
    terminal.wait_for("Act one");
    let address = eventually("the browser is started", || {
        let address = std::fs::read_to_string(&opened).ok()?;
        address.ends_with('\n').then_some(address)
    });
    assert!(address.starts_with("http://127.0.0.1:"), "{address}");
    terminal.press(CTRL_C);
    terminal.wait_for_prompt();
    nothing_is_left(&all);
}
