//! hbsidecar in containers that allow less than usual, under a real Docker engine: the agent runs, and what is missing is
//! logged with its remedy.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]
#![expect(clippy::disallowed_methods, reason = "tests run the real world")]

mod support;

use std::process::Output;
use std::sync::Arc;
use support::docker::{Container, Docker};
use support::eventually;
use support::unix_redis::UnixRedis;

/// A user that no file of the image knows, on a root that no one can write to.
const STRANGER: [&str; 3] = ["--read-only", "--user", "12345:12345"];
const NO_STORE: &str = "redis://127.0.0.1:1";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An agent of a shell under hbsidecar, without a home, to its end.
fn run(docker: &Docker, flags: &[&str], agent: &str) -> Output {
    let command = ["env", "-u", "HOME", "hbsidecar", "--redis-url", NO_STORE];
    let agent = ["--id", "a1", "--restart", "never", "--", "sh", "-c", agent];
    docker.run(flags, &[&command[..], &agent].concat())
}

#[test]
fn without_any_place_to_write_to_the_agent_runs_and_the_remedy_is_logged_once() {
    let docker = Docker::shared();
    let output = run(&docker, &STRANGER, r#"echo "at <$HB_SOCKET>"; exit 7"#);
    assert_eq!(text(&output.stdout), "at <>\n", "{output:?}");
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    let log = text(&output.stderr);
    let remedy = "mount an empty volume at /tmp or /run/hb";
    assert_eq!(log.matches(remedy).count(), 1, "{log}");
}

#[test]
fn an_empty_volume_at_either_place_is_where_the_sockets_of_any_user_are() {
    let docker = Docker::shared();
    let asks = r#"test -S "$HB_SOCKET" && hbsidecar notify progress=7 && unset HB_SOCKET && hbsidecar healthcheck"#;
    for volume in ["/run/hb", "/run/hb:mode=0777", "/tmp"] {
        for user in ["12345:12345", "0:0"] {
            let flags = ["--read-only", "--user", user, "--tmpfs", volume];
            let output = run(&docker, &flags, asks);
            let log = text(&output.stderr);
            assert!(output.status.success(), "{volume} {user}: {output:?}");
            assert!(!log.contains("empty volume"), "{volume} {user}: {log}");
        }
    }
}

/// A profile for `--security-opt` that allows all but one system call, with this first argument if it is given.
fn forbids(call: &str, argument: Option<u32>) -> (tempfile::TempDir, String) {
    let arguments = argument.map_or(String::new(), |value| {
        format!(r#", "args": [{{"index": 0, "value": {value}, "op": "SCMP_CMP_EQ"}}]"#)
    });
    let profile = format!(
        r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{{"names": ["{call}"], "action": "SCMP_ACT_ERRNO"{arguments}}}]}}"#
    );
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("profile.json");
    std::fs::write(&path, profile).unwrap();
    let option = format!("seccomp={}", path.display());
    (place, option)
}

#[test]
fn a_wrapped_agent_needs_no_descriptor_of_a_process_and_no_netlink() {
    const AF_NETLINK: u32 = 16;
    let docker = Docker::shared();
    for (call, argument, said) in [
        ("pidfd_open", None, None),
        ("pidfd_send_signal", None, None),
        (
            "socket",
            Some(AF_NETLINK),
            Some("must allow netlink sockets"),
        ),
    ] {
        let (_place, profile) = forbids(call, argument);
        let flags = ["--security-opt", &*profile];
        let output = run(&docker, &flags, "kill -TERM $$");
        assert_eq!(output.status.code(), Some(128 + 15), "{call}: {output:?}");
        let log = text(&output.stderr);
        let lines = said.map_or(0, |said| log.matches(said).count());
        assert_eq!(lines, usize::from(said.is_some()), "{call}: {log}");
    }
}

/// A sidecar beside an agent's container, with a store: what it logs, and what the fleet knows.
struct Beside {
    _agent: Container,
    sidecar: Container,
    store: UnixRedis,
}

impl Beside {
    /// `joins` the namespace of the agent's processes.
    fn watch(docker: &Arc<Docker>, joins: bool, flags: &[&str], target: &[&str]) -> Self {
        let agent = docker.spawn(&[], &["sleep", "600"]);
        let store = UnixRedis::start();
        let mount = format!("{}:/store", store.dir.path().display());
        let pid = format!("--pid=container:{}", agent.id());
        let mut all = vec!["-v", &*mount];
        all.extend(joins.then_some(&*pid));
        all.extend(flags);
        let words = target.join(" ");
        let watch = format!(
            "exec hbsidecar --id a1 --interval 200ms --redis-url redis+unix:///store/redis.sock {words} 2>&1"
        );
        let sidecar = docker.spawn(&all, &["sh", "-c", &watch]);
        Self {
            _agent: agent,
            sidecar,
            store,
        }
    }

    /// Until it waits, with these words, and no one takes the agent for healthy.
    fn waits_with(&self, words: &str) {
        self.sidecar.wait_for_output(words);
        eventually("the fleet does not take it for healthy", || {
            (self.store.field("a1", "status")? == "stopped").then_some(())
        });
    }
}

#[test]
fn a_process_of_another_namespace_is_not_seen_and_the_flag_for_it_is_named() {
    let docker = Docker::shared();
    let beside = Beside::watch(&docker, false, &[], &["--match", "sleep"]);
    beside.waits_with("with Docker use --pid container:NAME");
}

#[test]
fn a_process_of_another_user_is_refused_with_whose_it_is() {
    let docker = Docker::shared();
    let user = ["--user", "1000:1000"];
    for target in [["--match", "^sleep"], ["--pid", "1"]] {
        let beside = Beside::watch(&docker, true, &user, &target);
        let words = "belongs to user 0, hbsidecar runs as 1000; run it as that user or as root";
        beside.sidecar.wait_for_output(words);
    }
}

#[test]
fn a_profile_that_forbids_what_attaching_needs_is_named_with_the_call() {
    let docker = Docker::shared();
    let (_place, profile) = forbids("pidfd_open", None);
    let flags = ["--security-opt", &*profile];
    let beside = Beside::watch(&docker, true, &flags, &["--match", "^sleep"]);
    beside
        .sidecar
        .wait_for_output("a seccomp profile must allow pidfd_open");
    assert_eq!(beside.sidecar.exit_code(), 125);

    let (_place, profile) = forbids("pidfd_send_signal", None);
    let flags = ["--security-opt", &*profile];
    let beside = Beside::watch(&docker, true, &flags, &["--pid", "1"]);
    let words = "neither stops nor restarts it; a seccomp profile must allow pidfd_send_signal";
    beside.sidecar.wait_for_output(words);
}
