//! `hbmonitor top` in a real terminal: drawn at every size, typed into, and the terminal given back as it was.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]

mod support;

use support::pty::{CTRL_C, Terminal};
use support::{Monitor, Redis, Running, eventually, program, sidecar};

/// A shell in which `top` shows this monitor.
fn shown(monitor: &Monitor) -> Terminal {
    let mut terminal = Terminal::start();
    let program = program("hbmonitor");
    let address = &monitor.address;
    terminal.type_line(&format!(
        "LC_ALL=C.UTF-8 {} top --url http://{address}",
        program.display()
    ));
    terminal
}

fn ready(monitor: &Monitor) {
    eventually("the monitor is ready", || {
        (monitor.get("/readyz")?.0 == 200).then_some(())
    });
}

#[test]
fn the_fleet_is_shown_at_every_size_and_the_terminal_is_given_back() {
    let redis = Redis::start();
    let monitor = Monitor::start(&redis.url());
    ready(&monitor);
    let mut agent = sidecar(&redis.url(), "w1", "1s");
    let _agent = Running::start(agent.args(["sh", "-c", "sleep 1; exit 7"]));
    monitor.wait_for("w1", "failed");
    let mut terminal = shown(&monitor);
    terminal.wait_for("w1");
    terminal.wait_for("enter details");
    terminal.wait_for("1 agent: 1 needs you.");
    terminal.resize(50, 200);
    terminal.wait_for("HOST");
    terminal.resize(10, 40);
    terminal.wait_for("FOR");
    terminal.resize(24, 80);
    terminal.press('/');
    terminal.wait_for("filter:");
    terminal.type_line("nothing");
    terminal.wait_for("No agent matches");
    terminal.press('\x1b');
    terminal.wait_for("w1");
    terminal.press('p');
    terminal.wait_for("whole fleet for 1 h? y/N");
    terminal.press('y');
    terminal.wait_for("Recovery is paused for 1 h.");
    eventually("recovery is paused", || {
        let (_, status) = monitor.get("/v1/status")?;
        status["recovery"]["paused"].is_object().then_some(())
    });
    terminal.press('l');
    terminal.wait_for("Nothing was captured");
    terminal.press('q');
    terminal.press('q');
    terminal.wait_for_prompt();
    assert_eq!(terminal.last_code(), 0);
    terminal.assert_shell_has_it();
}

#[test]
fn a_restart_asks_first_and_really_restarts_the_agent() {
    let redis = Redis::start();
    let monitor = Monitor::start(&redis.url());
    ready(&monitor);
    let mut agent = sidecar(&redis.url(), "w1", "1s");
    let _agent = Running::start(agent.args(["sleep", "300"]));
    let pid = || monitor.get("/health/agents/w1")?.1["pid"].as_u64();
    let before = eventually("the agent runs", pid);
    let mut terminal = shown(&monitor);
    terminal.wait_for("w1");
    terminal.press('r');
    terminal.wait_for("Restart w1? y/N");
    terminal.press('n');
    terminal.wait_for("Nothing was done.");
    assert_eq!(pid(), Some(before));
    terminal.press('r');
    terminal.wait_for("Restart w1? y/N");
    terminal.press('y');
    terminal.wait_for("w1: ordered");
    eventually("another process runs", || {
        pid().filter(|pid| *pid != before).map(drop)
    });
    terminal.press(CTRL_C);
    terminal.wait_for_prompt();
}

/// A tmux of its own, which ends with the test.
struct Multiplexer(tempfile::TempDir);

impl Multiplexer {
    fn start(command: &str, columns: usize, rows: usize) -> Self {
        let own = Self(support::place());
        let (columns, rows) = (columns.to_string(), rows.to_string());
        own.run(&["new-session", "-d", "-x", &columns, "-y", &rows, command]);
        own
    }

    fn run(&self, arguments: &[&str]) -> String {
        let socket = self.0.path().join("tmux");
        let mut tmux = support::clean("tmux".as_ref());
        tmux.args(["-f", "/dev/null", "-S"]).arg(socket);
        let output = tmux.args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Multiplexer {
    fn drop(&mut self) {
        self.run(&["kill-server"]);
    }
}

#[test]
fn in_a_multiplexer_lines_that_fill_the_screen_are_whole() {
    let redis = Redis::start();
    let monitor = Monitor::start(&redis.url());
    ready(&monitor);
    let mut agent = sidecar(&redis.url(), "w1", "1s");
    let _agent = Running::start(agent.args(["sleep", "300"]));
    monitor.wait_for("w1", "healthy");
    let top = format!(
        "env NO_COLOR=1 LC_ALL=C.UTF-8 {} top --url http://{}",
        program("hbmonitor").display(),
        monitor.address
    );
    for (columns, rows) in [(80, 24), (200, 50)] {
        let tmux = Multiplexer::start(&top, columns, rows);
        let lines = eventually("the agent is on the screen", || {
            let shown = tmux.run(&["capture-pane", "-p"]);
            let lines: Vec<String> = shown.lines().map(str::to_owned).collect();
            let is_drawn = lines.len() == rows && shown.contains("w1") && shown.contains("? keys");
            is_drawn.then_some(lines)
        });
        let (_, time) = lines[0].split_once("live ").unwrap();
        assert_eq!(
            (lines[0].chars().count(), time.len()),
            (columns, 8),
            "{lines:#?}"
        );
        let widest = lines.iter().map(|line| line.chars().count()).max();
        assert_eq!(widest, Some(columns), "{lines:#?}");
    }
}

#[test]
fn without_a_terminal_it_says_what_to_use_instead() {
    let output = support::clean(&program("hbmonitor"))
        .args(["top", "--url", "http://127.0.0.1:1"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("hbmonitor ls"), "{error}");
}
