//! The real program: exit codes, bad input, what the agent sees of its supervisor. No store anywhere.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]

#[path = "../../tests/support/mod.rs"]
mod support;

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

fn sidecar(arguments: &[&str]) -> Command {
    let mut command = support::alone::sidecar(&["--restart", "never"]);
    command.args(arguments);
    command
}

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = sidecar(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

fn refused(arguments: &[&str], code: i32) -> String {
    let (got, out, err) = run(arguments);
    assert_eq!((got, out.as_str()), (Some(code), ""), "{err}");
    assert_eq!(err.lines().count(), 1, "one clear line, not {err}");
    err
}

#[test]
fn all_256_exit_codes_are_the_agents() {
    for code in 0..=255 {
        assert_eq!(
            run(&["--", "sh", "-c", &format!("exit {code}")]).0,
            Some(code)
        );
    }
}

#[test]
fn a_death_by_signal_is_ours_too_so_that_a_shell_sees_128_and_its_number() {
    // 34 and 64 are real-time signals: they have no names, and their deaths must not be lost.
    for (name, number) in [
        ("TERM", 15),
        ("KILL", 9),
        ("SEGV", 11),
        ("34", 34),
        ("64", 64),
    ] {
        let kills_itself = format!("kill -{name} $$");
        let status = sidecar(&["--", "sh", "-c", &kills_itself])
            .status()
            .unwrap();
        assert_eq!(status.signal(), Some(number), "{name}");
    }
}

#[test]
fn a_command_that_is_not_there_is_127() {
    let err = refused(&["--", "no-such-agent"], 127);
    assert!(
        err.contains("no-such-agent") && err.contains("not found"),
        "{err}"
    );
}

#[test]
fn a_command_that_cannot_be_run_is_126() {
    let err = refused(&["--", "/etc/passwd"], 126);
    assert!(err.contains("executable"), "{err}");
    refused(&["--", "/tmp"], 126);
}

#[test]
fn bad_arguments_are_one_clear_line_and_exit_code_2() {
    for (arguments, expected) in [
        (vec![], "no command"),
        (vec!["--"], "no command"),
        (vec!["--wat", "--", "true"], "--wat"),
        (vec!["--interval", "99ms", "--", "true"], "100ms to 1h"),
        (vec!["--interval", "2h", "--", "true"], "100ms to 1h"),
        (vec!["--id", "a b", "--", "true"], "position 2"),
        (vec!["--id", "", "--", "true"], "at least one character"),
        (
            vec!["--redis-password-file", "/no/such/file", "--", "true"],
            "/no/such/file",
        ),
        (vec!["run", "--", "true"], "leave out run"),
        (vec!["python3", "x.py"], "hbsidecar -- python3"),
    ] {
        let err = refused(&arguments, 2);
        assert!(err.contains(expected), "{arguments:?}: {err}");
    }
}

#[test]
fn what_follows_a_subcommand_is_no_command_and_a_negative_number_no_flag() {
    for arguments in [["healthcheck", "now"], ["diagnose", "-1"]] {
        let output = support::clean(&support::program("hbsidecar"))
            .args(arguments)
            .output()
            .unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(2) && !err.contains("-- "),
            "{err}"
        );
    }
}

#[test]
fn a_log_file_that_cannot_be_written_is_reported_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("missing/log");
    let flags = ["--log-file", path.to_str().unwrap(), "--", "true"];
    let (code, _, err) = run(&flags);
    assert_eq!(code, Some(0));
    assert!(
        err.contains("cannot log to") && err.contains("missing/log"),
        "{err}"
    );
}

#[test]
fn a_switch_in_a_variable_is_yes_or_no() {
    let output = sidecar(&["--", "true"])
        .env("HB_EXCLUSIVE", "flase")
        .output()
        .unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(err.contains("HB_EXCLUSIVE"), "{err}");
}

#[test]
fn a_bad_url_is_refused_without_repeating_it() {
    let output = support::clean(&support::program("hbsidecar"))
        .args(["--redis-url", "http://user:secret@host", "--", "true"])
        .output()
        .unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        err.contains("redis://127.0.0.1:6379") && !err.contains("secret"),
        "{err}"
    );
}

#[test]
fn output_reaches_the_caller_unchanged() {
    let (_, out, err) = run(&["--", "sh", "-c", "printf 'a\\0b'; printf c >&2"]);
    assert_eq!((out.as_str(), err.as_str()), ("a\0b", "c"));
}

#[test]
fn the_agent_knows_its_name_and_nothing_of_a_supervisor_above() {
    let output = sidecar(&["--id", "a1", "--type", "t", "--", "env"])
        .envs([
            ("NOTIFY_SOCKET", "/x"),
            ("WATCHDOG_USEC", "1"),
            ("WATCHDOG_PID", "1"),
            ("KEPT", "yes"),
        ])
        .output()
        .unwrap();
    let environment = String::from_utf8(output.stdout).unwrap();
    for line in ["HB_AGENT_ID=a1", "HB_AGENT_TYPE=t", "KEPT=yes"] {
        assert!(environment.contains(line), "{line} is not in {environment}");
    }
    for name in ["HB_SOCKET=/", "NOTIFY_SOCKET=/", "HB_EPOCH="] {
        assert!(
            environment.contains(name),
            "{name} is missing in {environment}"
        );
    }
    for name in ["NOTIFY_SOCKET=/x", "WATCHDOG_"] {
        assert!(!environment.contains(name), "{name} leaked");
    }
}

#[test]
fn the_agent_leads_a_process_group_of_its_own() {
    let (_, out, _) = run(&["--", "sh", "-c", "echo $$ $(ps -o pgid= -p $$)"]);
    let numbers: Vec<&str> = out.split_whitespace().collect();
    assert_eq!(numbers[0], numbers[1]);
}

#[test]
fn an_orphan_of_the_agent_is_reaped_and_does_not_hold_up_its_end() {
    let (code, _, _) = run(&["--", "sh", "-c", "(sleep 0.05 &) ; exit 3"]);
    assert_eq!(code, Some(3));
}

#[test]
fn help_names_every_exit_code_of_its_own() {
    let (code, out, _) = run(&["--help"]);
    assert_eq!(code, Some(0));
    for word in ["125", "126", "127", "128+n", "--interval", "HB_AGENT_ID"] {
        assert!(out.contains(word), "{word}");
    }
}

#[test]
fn a_child_that_ended_before_the_agent_started_is_reaped() {
    let waits = "until [ ! -e /proc/$CHILD ]; do sleep 0.02; done; echo reaped";
    let script = format!(
        "true & export CHILD=$!; exec \"$HB\" -q --restart never --redis-url redis://127.0.0.1:1 -- timeout 60 sh -c '{waits}'"
    );
    let mut shell = support::clean("sh".as_ref());
    shell
        .args(["-c", &script])
        .env("HB", support::program("hbsidecar"));
    let output = shell.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "reaped\n");
}
