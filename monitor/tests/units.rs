//! The units of `systemd/` as they are, under a real systemd: only the place of the programs is the test's.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]

#[path = "../../tests/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use support::systemd::{Machine, UNITS};
use support::{eventually, program};

/// Where the test mounts the programs.
const FOUND_HERE: &str = "[Service]\nExecSearchPath=/opt:/usr/bin\n";
/// A watchdog that a test can wait for.
const IMPATIENT: &str = "[Service]\nWatchdogSec=5\nRestartSec=100ms\n";
/// What a user writes for an agent: it shows its environment and works on.
const AGENT: &str = r#"
AGENT_COMMAND='sh -c "env > new; mv new seen; exec sleep 600"'
HB_INTERVAL=200ms
"#;
const SOMEBODYS: &str = "[Service]\nExecStart=/bin/sleep 600\n";

fn shipped(name: &str) -> String {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let path: PathBuf = repository.join("systemd").join(name);
    std::fs::read_to_string(path).unwrap()
}

fn boot() -> Machine {
    let unit = |path: &str, text: String| (format!("{UNITS}/{path}"), text);
    let wrap = shipped("wrap.service.d/hb.conf")
        .replace("/usr/bin/python3 /srv/agent.py", "/bin/sleep 600");
    let files = [
        unit("hbmonitor.service", shipped("hbmonitor.service")),
        unit("hbmonitor.service.d/place.conf", FOUND_HERE.to_owned()),
        unit("hbmonitor.service.d/watchdog.conf", IMPATIENT.to_owned()),
        unit("hbsidecar@.service", shipped("hbsidecar@.service")),
        unit("hbsidecar@.service.d/place.conf", FOUND_HERE.to_owned()),
        unit("theirs.service", SOMEBODYS.to_owned()),
        unit("theirs.service.d/hb.conf", wrap),
        unit("theirs.service.d/place.conf", FOUND_HERE.to_owned()),
        ("etc/hb/agents/writer-1.env".to_owned(), AGENT.to_owned()),
    ];
    let mounts = ["hbsidecar", "hbmonitor"]
        .map(|name| format!("{}:/opt/{name}:ro", program(name).display()));
    Machine::boot(&files, &mounts)
}

fn wait_for(machine: &Machine, unit: &str, property: &str, text: &str) {
    eventually(&format!("{property} of {unit} is {text:?}"), || {
        machine.show(unit, property).contains(text).then_some(())
    });
}

#[test]
fn an_attacker_inside_hbmonitor_reaches_little() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd/hbmonitor.service");
    let analyze = |threshold: &str| {
        let mut analyze = Command::new("systemd-analyze");
        analyze.args(["security", "--offline=yes", "--no-pager", threshold]);
        analyze.arg(&unit).output().unwrap()
    };
    let exposure = analyze("--threshold=25");
    assert!(exposure.status.success(), "{exposure:?}");
    assert!(
        !analyze("--threshold=1").status.success(),
        "the check can fail"
    );
}

/// One machine for the whole story: its boot is the costly part.
#[test]
fn the_units_start_report_survive_and_stop() {
    let machine = boot();
    let started = machine.systemctl(&["start", "hbmonitor", "hbsidecar@writer-1", "theirs"]);
    assert_eq!(started, "", "each of them reported that it is ready");

    // What `systemctl status` shows.
    wait_for(&machine, "hbmonitor", "StatusText", "All 2 agents are fine");
    let runs = "the agent writer-1 runs as process ";
    wait_for(&machine, "hbsidecar@writer-1", "StatusText", runs);
    wait_for(
        &machine,
        "theirs",
        "StatusText",
        "the agent theirs runs as process ",
    );

    // The unit's socket is hbsidecar's: the agent has one of its own.
    let seen = eventually("the agent has shown its environment", || {
        let seen = machine.sh("cat /var/lib/hb-agents/writer-1/seen");
        seen.contains("NOTIFY_SOCKET=").then_some(seen)
    });
    assert!(
        seen.contains("NOTIFY_SOCKET=/run/hb-agents/writer-1/hb/"),
        "{seen}"
    );
    assert!(!seen.contains("WATCHDOG_"), "{seen}");

    // A killed agent is back, in the same run of its unit.
    let before = machine.show("hbsidecar@writer-1", "StatusText");
    let pid = before.trim_start_matches(runs).to_owned();
    machine.sh(&format!("kill -KILL {pid}"));
    eventually("another process is the agent", || {
        let now = machine.show("hbsidecar@writer-1", "StatusText");
        (now != before && now.starts_with(runs)).then_some(())
    });
    assert_eq!(machine.show("hbsidecar@writer-1", "NRestarts"), "0");

    // Its token is root's to use.
    let paused = machine.sh("HB_TOKEN_FILE=/var/lib/private/hb/token /opt/hbmonitor resume");
    assert_eq!(paused, "Recovery goes on for the whole fleet.");

    let reloaded = machine.systemctl(&["reload", "hbmonitor"]);
    assert_eq!(reloaded, "");
    wait_for(&machine, "hbmonitor", "SubState", "running");

    // One that hangs is ended and started again, and knows its fleet.
    machine.systemctl(&["kill", "--signal=STOP", "hbmonitor"]);
    eventually("systemd starts it again", || {
        (machine.show("hbmonitor", "NRestarts") != "0").then_some(())
    });
    wait_for(&machine, "hbmonitor", "StatusText", "All 2 agents are fine");

    let stopped = machine.systemctl(&["stop", "hbsidecar@writer-1", "theirs", "hbmonitor"]);
    assert_eq!(stopped, "");
    for unit in ["hbsidecar@writer-1", "theirs", "hbmonitor"] {
        let result = machine.show(unit, "Result");
        assert_eq!((unit, result.as_str()), (unit, "success"));
    }
}

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nmessagebus:x:100:100::/:/usr/sbin/nologin\nalice:x:1000:1000::/home/alice:/bin/sh\n";
/// There is no PAM here, which would name the directory.
const NO_PAM: &str = "[Service]\nPAMName=\nEnvironment=XDG_RUNTIME_DIR=/run/user/%i\n";

fn boot_of_alice() -> Machine {
    let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    let hers = |path: &str, text: String| (format!("home/alice/.config/{path}"), text);
    let unit = |name: &str| {
        let text = shipped(&format!("user/{name}"));
        hers(&format!("systemd/user/{name}"), text)
    };
    let agent = "AGENT_COMMAND=sleep 600\nHB_INTERVAL=200ms\n";
    let files = [
        file("etc/passwd", PASSWD),
        file("etc/group", "root:x:0:\nmessagebus:x:100:\nalice:x:1000:\n"),
        file(&format!("{UNITS}/user@.service.d/pam.conf"), NO_PAM),
        unit("hbmonitor.service"),
        unit("hbsidecar@.service"),
        hers("hb/agents/first.env", agent.to_owned()),
    ];
    let home = "/home/alice/.local/bin";
    let mounts = ["hbsidecar", "hbmonitor"]
        .map(|name| format!("{}:{home}/{name}:ro", program(name).display()));
    Machine::boot(&files, &mounts)
}

/// As docs/systemd.md has it for a laptop.
#[test]
fn the_units_of_a_user_who_lingers_run_without_a_session() {
    let machine = boot_of_alice();
    let owned =
        "chown 1000:1000 /home/alice /home/alice/.local && chown -R 1000:1000 /home/alice/.config";
    assert_eq!(machine.sh(owned), "");
    assert_eq!(machine.sh("loginctl enable-linger alice"), "");
    eventually("her manager runs", || {
        (machine.show("user@1000", "ActiveState") == "active").then_some(())
    });
    let hers = |words: &str| {
        let as_alice = "setpriv --reuid=1000 --regid=1000 --clear-groups env HOME=/home/alice XDG_RUNTIME_DIR=/run/user/1000";
        machine.sh(&format!("{as_alice} systemctl --user {words}"))
    };
    let status = |unit: &str| hers(&format!("show --value -p StatusText {unit}"));
    hers("enable --now hbmonitor");
    assert_eq!(hers("start hbsidecar@first"), "");
    eventually("her agent is in her fleet", || {
        status("hbmonitor")
            .contains("The one agent is fine")
            .then_some(())
    });
    let runs = "the agent first runs as process ";
    let before = status("hbsidecar@first");
    let pid = before.trim_start_matches(runs).to_owned();
    machine.sh(&format!("kill -KILL {pid}"));
    eventually("another process is the agent", || {
        let now = status("hbsidecar@first");
        (now != before && now.starts_with(runs)).then_some(())
    });
    assert_eq!(hers("stop hbsidecar@first hbmonitor"), "");
    for unit in ["hbsidecar@first", "hbmonitor"] {
        let result = hers(&format!("show --value -p Result {unit}"));
        assert_eq!((unit, result.as_str()), (unit, "success"));
    }
}
