//! The real program with input that cannot be: one clear line, the right exit code.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]

#[path = "../../tests/support/mod.rs"]
mod support;

use std::net::TcpListener;
use std::process::Stdio;

fn refused(arguments: &[&str], code: i32) -> String {
    let output = support::clean(&support::program("hbmonitor"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{err}");
    assert_eq!(err.lines().count(), 1, "one clear line, not {err}");
    err
}

#[test]
fn a_port_that_is_taken_is_said_with_the_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let err = refused(
        &["--redis-url", "redis://127.0.0.1:1", "--listen", &address],
        1,
    );
    assert!(err.contains(&address) && err.contains("--listen"), "{err}");
}

#[test]
fn a_start_without_enough_descriptors_is_refused_with_what_to_do() {
    for limit in [6, 12, 24] {
        let script = format!("ulimit -n {limit}; exec \"$0\" --redis-url redis://127.0.0.1:1");
        let mut bash = support::clean(std::path::Path::new("bash"));
        bash.args(["-c", &script])
            .arg(support::program("hbmonitor"));
        let output = bash.output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{limit}: {err}");
        assert!(err.contains("(ulimit -n)"), "{limit}: {err}");
        assert_eq!(err.lines().count(), 1, "{limit}: {err}");
    }
}

#[test]
fn bad_arguments_are_one_clear_line() {
    for (arguments, says) in [
        (
            vec!["--redis-url", "http://user:secret@host"],
            "redis://127.0.0.1:6379",
        ),
        (vec!["--listen", "everywhere"], "127.0.0.1:7410"),
        (vec!["--interval-default", "1ms"], "100ms to 1h"),
        (vec!["dance"], "dance"),
        (vec!["--wat"], "--wat"),
    ] {
        let err = refused(&arguments, 2);
        assert!(
            err.contains(says) && !err.contains("secret"),
            "{arguments:?}: {err}"
        );
    }
}

#[test]
fn a_bad_configuration_file_is_refused_with_line_and_suggestion() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hbmonitor.toml");
    std::fs::write(&file, "# hb\nlissten = \"127.0.0.1:0\"\n").unwrap();
    let err = refused(&["--config", file.to_str().unwrap()], 78);
    assert!(
        err.contains("line 2") && err.contains("did you mean `listen`"),
        "{err}"
    );
    refused(&["--config", "/no/such/file"], 78);
}
