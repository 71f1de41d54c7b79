//! `hbmonitor top` in a real terminal: drawn at every size, typed into, and the terminal given back as it was.

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
    terminal.wait_for("Restart w1? y/n");
    terminal.press('n');
    terminal.wait_for("Nothing was done.");
    assert_eq!(pid(), Some(before));
    terminal.press('r');
    terminal.wait_for("Restart w1? y/n");
    terminal.press('y');
    terminal.wait_for("w1: ordered");
    eventually("another process runs", || {
        pid().filter(|pid| *pid != before).map(drop)
    });
    terminal.press(CTRL_C);
    terminal.wait_for_prompt();
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
