//! What an agent says of itself, from its one line to what HTTP tells. Real Redis, both real programs, real agents.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]
#![expect(clippy::disallowed_methods, reason = "tests run the real world")]

mod support;

use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use support::fleet::{Agent, Fleet, path_with_programs};
use support::{Running, clean, eventually, program, saw, text_of};

/// Says every line of its input, and prints what is answered.
const SPEAKER: &str = r#"
import os, socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(os.environ["HB_SOCKET"])
print("ready", flush=True)
for line in sys.stdin: s.sendall(line.encode())
"#;

/// An agent that says what the test wants.
struct Speaker {
    _sidecar: Agent,
    mouth: ChildStdin,
}

impl Speaker {
    fn start(fleet: &Fleet, id: &str, flags: &[&str]) -> Self {
        let arguments = [
            &["-q", "--id", id],
            flags,
            &["--", "python3", "-c", SPEAKER],
        ]
        .concat();
        let mut sidecar = fleet
            .hbsidecar(&arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            mouth: sidecar.stdin.take().unwrap(),
            _sidecar: Agent(Running(sidecar)),
        }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.mouth, "{line}").unwrap();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn file_when_written(path: &Path) -> String {
    eventually(&format!("{} is written", path.display()), || {
        let text = std::fs::read_to_string(path).ok()?;
        text.ends_with('\n').then(|| text.trim_end().to_owned())
    })
}

/// Waits for these bytes: what a sidecar reads of an output may be in a beat before it is copied, or all of it printed.
fn printed_alike(path: &Path, alone: &[u8]) {
    eventually("every byte has come through", || {
        saw("alone", &text(alone));
        text_of(path);
        (std::fs::read(path).unwrap() == alone).then_some(())
    });
}

#[test]
fn what_a_python_a_node_and_a_shell_agent_say_is_told_over_http() {
    let fleet = Fleet::start();
    let python = r#"
import os, socket, time
s = socket.socket(socket.AF_UNIX); s.connect(os.environ["HB_SOCKET"])
s.sendall(b'task="index repo" progress=42 active=3 queue=7 tokens=500 errors=2\ntokens=12\n')
time.sleep(1000)"#;
    let node = r#"
const line = {task: "index repo", progress: 42, active: 3, queue: 7, tokens: 512, errors: 2};
require("net").connect(process.env.HB_SOCKET).write(JSON.stringify(line) + "\n");
setInterval(() => {}, 1000);"#;
    let shell = r#"
hbsidecar notify task="index repo" progress=42 active=3 queue=7
hbsidecar notify tokens=512 error="no route"; hbsidecar notify errors=1
exec sleep 1000"#;
    let agents = [
        ("python", ["python3", "-c", python]),
        ("node", ["node", "-e", node]),
        ("shell", ["sh", "-c", shell]),
    ];
    let _running = agents.map(|(id, agent)| fleet.agent(id, &[], &agent));
    for (id, _) in agents {
        let all = json!({
            "state": "healthy", "status": "healthy", "currentTask": "index repo", "taskProgress": 42.0,
            "metrics.activeTasks": 3, "metrics.queueDepth": 7,
            "metrics.tokensUsedThisHour": 512, "metrics.errorsLast5Min": 2
        });
        fleet.tells(id, &all);
    }
}

#[test]
fn the_status_of_sd_notify_is_shown_as_status_text() {
    let fleet = Fleet::start();
    let shell = r#"systemd-notify --status="41 of 80 files"; exec sleep 1000"#;
    let _running = fleet.agent("a1", &[], &["sh", "-c", shell]);
    fleet.tells(
        "a1",
        &json!({"state": "healthy", "statusText": "41 of 80 files"}),
    );
}

#[test]
fn load_has_the_name_that_the_users_thresholds_give_it() {
    let fleet = Fleet::start();
    let flags = ["--busy-queue", "5", "--recovering-errors", "2"];
    let mut agent = Speaker::start(&fleet, "a1", &flags);
    agent.say("queue=5 errors=2");
    fleet.tells(
        "a1",
        &json!({"status": "healthy", "metrics.queueDepth": 5, "metrics.errorsLast5Min": 2}),
    );
    agent.say("queue=6");
    fleet.tells("a1", &json!({"status": "busy"}));
    agent.say("errors=1");
    fleet.tells(
        "a1",
        &json!({"status": "recovering", "metrics.errorsLast5Min": 3}),
    );
    let flags = ["--busy-queue", "5", "--degraded-memory-mb", "1"];
    let mut large = Speaker::start(&fleet, "a2", &flags);
    large.say("queue=6");
    fleet.tells(
        "a2",
        &json!({"status": "degraded", "metrics.queueDepth": 6}),
    );
}

#[test]
fn a_shell_is_told_what_became_of_its_line() {
    let fleet = Fleet::start();
    let shell = r#"
exec 2>"$DIR/said"
hbsidecar notify task=build progress=10; echo "good $?" >&2
hbsidecar notify progress=150; echo "wrong $?" >&2
hbsidecar notify; echo "nothing $?" >&2
HB_SOCKET= hbsidecar notify progress=1; echo "nowhere $?" >&2
HB_SOCKET=$DIR/none hbsidecar notify progress=1; echo "nobody $?" >&2
echo over > "$DIR/over"
exec sleep 1000"#;
    let _agent = fleet.agent("a1", &[], &["sh", "-c", shell]);
    file_when_written(&fleet.path("over"));
    let said = std::fs::read_to_string(fleet.path("said")).unwrap();
    let codes: Vec<&str> = said
        .lines()
        .filter(|line| !line.starts_with("hbsidecar: "))
        .collect();
    let wanted = ["good 0", "wrong 2", "nothing 2", "nowhere 1", "nobody 1"];
    assert_eq!(codes, wanted, "{said}");
    assert!(
        said.contains("progress is a number from 0 to 100"),
        "{said}"
    );
    assert!(said.contains("no HB_SOCKET here"), "{said}");
    fleet.tells("a1", &json!({"currentTask": "build", "taskProgress": 10.0}));
}

#[test]
fn whoever_is_not_of_the_agents_tree_is_refused_and_told_so() {
    let fleet = Fleet::start();
    let mut agent = Speaker::start(&fleet, "a1", &[]);
    agent.say("task=mine");
    fleet.tells("a1", &json!({"currentTask": "mine"}));
    let refused = fleet.beside("a1", &["notify", "task=theirs"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("is not of this agent's tree"));
    agent.say("progress=7");
    fleet.tells("a1", &json!({"currentTask": "mine", "taskProgress": 7.0}));
}

/// Exit code, and what is printed: to standard output without an error, else to standard error.
fn checked(fleet: &Fleet, id: &str, flags: &[&str]) -> (Option<i32>, String) {
    let checked = fleet.beside(id, &[&["healthcheck"], flags].concat());
    let (out, err) = (text(&checked.stdout), text(&checked.stderr));
    let code = checked.status.code();
    assert_eq!(code == Some(0), err.is_empty(), "{code:?}: {err}");
    (code, out + &err)
}

/// Waits until a health check ends with this code and prints this: all of it, or a part when there is more.
fn check_ends(fleet: &Fleet, id: &str, flags: &[&str], code: i32, part: &str) {
    let what = format!("healthcheck {flags:?} ends with {code} and {part:?}");
    eventually(&what, || {
        let (found, says) = checked(fleet, id, flags);
        saw("healthcheck", &(found, &says));
        let fits = says.contains(part) && says.is_empty() == part.is_empty();
        (found == Some(code) && fits).then_some(())
    });
}

#[test]
fn a_health_check_is_of_the_sidecar_and_with_a_flag_of_its_beats() {
    let mut fleet = Fleet::start();
    let _agent = fleet.agent("a1", &[], &["sleep", "1000"]);
    check_ends(&fleet, "a1", &["--beats"], 0, "");
    check_ends(&fleet, "a1", &[], 0, "");
    fleet.redis.down();
    check_ends(&fleet, "a1", &["--beats"], 1, "no beat was stored for");
    // A store that is away is no reason to end an agent.
    check_ends(&fleet, "a1", &[], 0, "no beat was stored for");
    fleet.redis.up();
    check_ends(&fleet, "a1", &["--beats"], 0, "");
}

#[test]
fn an_agent_that_never_reached_a_store_has_a_healthy_sidecar() {
    let mut fleet = Fleet::start();
    fleet.redis.down();
    let _agent = fleet.agent("a1", &[], &["sleep", "1000"]);
    eventually("the sidecar answers", || {
        let checked = fleet.beside("a1", &["healthcheck"]);
        saw("healthcheck", &checked);
        let says = text(&checked.stdout);
        // Sent or stored.
        (checked.status.success() && says.contains("no beat was s")).then_some(())
    });
    assert_eq!(checked(&fleet, "a1", &["--beats"]).0, Some(1));
}

#[test]
fn the_health_check_of_a_sidecar_that_lost_its_id_reports_it() {
    let fleet = Fleet::start();
    let _first = fleet.agent("a1", &[], &["sleep", "1000"]);
    check_ends(&fleet, "a1", &["--beats"], 0, "");
    let elsewhere = tempfile::tempdir().unwrap();
    let mut second = fleet.hbsidecar(&["-q", "--id", "a1", "--takeover", "--", "sleep", "1000"]);
    let _second = Agent::start(second.env("XDG_RUNTIME_DIR", elsewhere.path()));
    let why = "another sidecar has the id";
    check_ends(&fleet, "a1", &["--beats"], 1, why);
    check_ends(&fleet, "a1", &[], 0, why);
}

#[test]
fn a_health_check_that_knows_no_socket_finds_the_only_one_that_answers() {
    let fleet = Fleet::start();
    let check = || {
        let mut command = clean(&program("hbsidecar"));
        command.env("XDG_RUNTIME_DIR", fleet.place.path());
        let checked = command.arg("healthcheck").output().unwrap();
        saw("healthcheck", &checked);
        checked
    };
    let found = || check().status.success().then_some(());
    let none = check();
    assert_eq!(none.status.code(), Some(1));
    assert!(text(&none.stderr).contains("no sidecar answers in"));
    // XDG_RUNTIME_DIR/hb, as for every user of a desktop.
    let _agent = fleet.agent("a1", &[], &["sleep", "1000"]);
    eventually("the sidecar is found", found);
    let mut other = fleet.agent("a2", &[], &["sleep", "1000"]);
    eventually("there are two", || {
        let checked = check();
        let says = text(&checked.stderr);
        let all = ["2 sockets answer", "a1.sock", "a2.sock", "--socket"];
        let names_both = all.iter().all(|part| says.contains(part));
        (!checked.status.success() && names_both).then_some(())
    });
    let orphan = eventually("the process of a2 is known", || {
        fleet.health("a2")["pid"].as_u64().filter(|pid| *pid > 0)
    });
    other.0.kill();
    support::signal(orphan, "KILL");
    assert!(
        fleet.path("hb/a2.sock").exists(),
        "a killed sidecar leaves its socket behind"
    );
    eventually("the one that is left is found", found);
}

#[test]
fn readiness_is_an_event_told_once_an_incarnation() {
    let fleet = Fleet::start();
    let shell = r#"
hbsidecar notify ready=1; systemd-notify --ready
hbsidecar notify task=up
[ -e "$DIR/again" ] && exec sleep 1000
touch "$DIR/again"; exit 1"#;
    let _agent = fleet.agent("a1", &["--backoff", "10ms"], &["sh", "-c", shell]);
    fleet.tells("a1", &json!({"restarts": 1, "currentTask": "up"}));
    eventually("both are ready", || {
        (fleet.count("a1", "ready") == 2).then_some(())
    });
    let incarnations: Vec<Value> = fleet
        .events("a1")
        .into_iter()
        .filter(|(kind, _)| kind == "ready")
        .map(|(_, detail)| detail["incarnation"].clone())
        .collect();
    assert_eq!(incarnations, [0, 1]);
}

#[test]
fn an_end_that_was_announced_is_clean_whatever_its_code_and_however_soon_it_follows() {
    let fleet = Fleet::start();
    let python = r#"
import os, socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(os.environ["HB_SOCKET"])
s.sendall(b"stopping=1\n"); os._exit(3)"#;
    for n in 0..20 {
        let id = format!("a{n}");
        let mut agent = fleet.agent(&id, &[], &["python3", "-c", python]);
        assert_eq!(agent.0.exit_code(), Some(3));
        fleet.tells(&id, &json!({"state": "stopped", "restarts": 0}));
        assert_eq!(fleet.count(&id, "exited"), 1);
    }
    let unannounced = ["--restart", "never"];
    let mut agent = fleet.agent("b1", &unannounced, &["sh", "-c", "exit 3"]);
    assert_eq!(agent.0.exit_code(), Some(3));
    fleet.tells("b1", &json!({"state": "failed", "reason": "exited"}));
}

#[test]
fn the_last_word_of_an_agent_that_ends_is_in_its_last_beat() {
    let fleet = Fleet::start();
    let ways: [(&str, &[&str], &str); 4] = [
        ("stream", &[], "hbsidecar notify task=over progress=100"),
        (
            "datagram",
            &[],
            "systemd-notify X_HB_TASK=over X_HB_PROGRESS=100",
        ),
        (
            "file",
            &["--status-file", "$DIR/status"],
            r#"echo task=over progress=100 > "$HB_STATUS_FILE""#,
        ),
        (
            "output",
            &["--progress-regex", "(?P<task>[a-z]+) (?P<progress>[0-9]+)%"],
            "echo over 100%",
        ),
    ];
    let status = fleet.path("status");
    for (id, flags, last) in ways {
        let flags: Vec<&str> = flags
            .iter()
            .map(|flag| flag.replace("$DIR/status", status.to_str().unwrap()))
            .map(|flag| &*flag.leak())
            .collect();
        let mut agent = fleet.agent(id, &flags, &["sh", "-c", last]);
        assert_eq!(agent.0.exit_code(), Some(0), "{id}");
        fleet.tells(
            id,
            &json!({"state": "stopped", "lastTask": "over", "lastTaskProgress": 100.0}),
        );
    }
}

#[test]
fn a_status_file_is_read_however_it_is_written_and_belongs_to_its_incarnation() {
    let fleet = Fleet::start();
    let status = fleet.path("status");
    std::fs::write(&status, "task=before progress=99\n").unwrap();
    let shell = r#"
if [ -e "$DIR/again" ]; then exec sleep 1000; fi
step() { while [ ! -e "$DIR/$1" ]; do sleep 0.02; done; }
echo task=rewritten progress=1 > "$HB_STATUS_FILE"; step appended
echo task=appended progress=2 >> "$HB_STATUS_FILE"; step renamed
echo '{"task":"renamed","progress":3}' > "$HB_STATUS_FILE.new"; mv "$HB_STATUS_FILE.new" "$HB_STATUS_FILE"; step again
exit 1"#;
    let flags = [
        "--status-file",
        status.to_str().unwrap(),
        "--backoff",
        "10ms",
    ];
    let _agent = fleet.agent("a1", &flags, &["sh", "-c", shell]);
    for (task, progress, next) in [
        ("rewritten", 1.0, "appended"),
        ("appended", 2.0, "renamed"),
        ("renamed", 3.0, "again"),
    ] {
        fleet.tells(
            "a1",
            &json!({"currentTask": task, "taskProgress": progress}),
        );
        std::fs::write(fleet.path(next), "").unwrap();
    }
    fleet.tells(
        "a1",
        &json!({"restarts": 1, "state": "healthy", "currentTask": null}),
    );
}

#[test]
fn events_that_an_agent_prints_are_followed_and_every_byte_goes_on() {
    let fleet = Fleet::start();
    let events = concat!(
        r#"{"type":"system","subtype":"init","session_id":"s"}"#,
        "\nnot JSON, \x07 and no UTF-8: \\377\n",
        r#"{"type":"assistant","message":{"id":"m1","content":[{"type":"tool_use","name":"Bash","input":{"command":"make"}}],"usage":{"input_tokens":100,"output_tokens":20}}}"#,
        "\nno end"
    );
    let out = fleet.path("out");
    let mut command = fleet.hbsidecar(&["-q", "--id", "a1", "--read", "stream-json", "--"]);
    command.args([
        "sh",
        "-c",
        r#"printf '%b' "$1"; exec sleep 1000"#,
        "sh",
        events,
    ]);
    command.stdout(std::fs::File::create(&out).unwrap());
    let _agent = Agent::start(&mut command);
    fleet.tells(
        "a1",
        &json!({"currentTask": "Bash", "metrics.tokensUsedThisHour": 120}),
    );
    eventually("it is ready", || {
        (fleet.count("a1", "ready") == 1).then_some(())
    });
    let alone = Command::new("sh")
        .args(["-c", r#"printf '%b' "$1""#, "sh", events])
        .output()
        .unwrap();
    assert!(alone.stdout.contains(&0xff));
    printed_alike(&out, &alone.stdout);
}

#[test]
fn a_pattern_finds_progress_in_what_is_printed_anyway_and_every_byte_goes_on() {
    let fleet = Fleet::start();
    let pattern = r"Epoch (?P<progress>\d+).* (?P<step>loss=\S+)";
    let printer = r#"
import sys, time
for epoch in range(1, 8):
    sys.stdout.buffer.write(b"Epoch %d/100 \xff loss=0.%d\r\nnoise\0\n" % (epoch, epoch)); sys.stdout.flush()
    sys.stdout.write("Epoch %d/100 ok loss=0.%d\n" % (epoch, epoch)); sys.stdout.flush()
if len(sys.argv) < 2: time.sleep(1000)"#;
    let out = fleet.path("out");
    let mut command = fleet.hbsidecar(&["-q", "--id", "a1", "--progress-regex", pattern, "--"]);
    command.args(["python3", "-c", printer]);
    command.stdout(std::fs::File::create(&out).unwrap());
    let _agent = Agent::start(&mut command);
    fleet.tells("a1", &json!({"taskProgress": 7.0}));
    let alone = Command::new("python3")
        .args(["-c", printer, "ends"])
        .output()
        .unwrap();
    printed_alike(&out, &alone.stdout);
}

#[test]
fn hooks_of_an_agent_tell_what_it_does() {
    let fleet = Fleet::start();
    let hook = r#"{"hook_event_name":"PreToolUse","tool_name":"Bash","tool_use_id":"t1","tool_input":{"command":"make"}}"#;
    let shell = r#"
printf '%s' "$1" | hbsidecar notify --hook; code=$?
for socket in '' "$DIR/none"; do
    printf '%s' "$1" | HB_SOCKET=$socket hbsidecar notify --hook 2>> "$DIR/said"; code=$code$?
done
echo $code > "$DIR/code"; exec sleep 1000"#;
    let _agent = fleet.agent("a1", &[], &["sh", "-c", shell, "sh", hook]);
    fleet.tells("a1", &json!({"currentTask": "Bash"}));
    assert_eq!(
        file_when_written(&fleet.path("code")),
        "000",
        "agents obey exit codes"
    );
    assert_eq!(std::fs::read_to_string(fleet.path("said")).unwrap(), "");
}

/// The inner sidecar is started by an agent: all that the outer one gave its agent is in the environment.
fn nested(fleet: &Fleet, environment: &[(&str, &str)], id: &str) {
    let inner = r#"echo "$HB_AGENT_ID $HB_SOCKET $NOTIFY_SOCKET" > "$DIR/inner"
hbsidecar notify task=inner; systemd-notify X_HB_PROGRESS=1; exec sleep 1000"#;
    let outer = r#"echo "$HB_AGENT_ID $HB_SOCKET $NOTIFY_SOCKET" > "$DIR/outer"
hbsidecar notify task=outer; exec hbsidecar -q -- sh -c "$1""#;
    let mut command = fleet.hbsidecar(&["-q", "--", "sh", "-c", outer, "sh", inner]);
    command
        .envs(environment.iter().copied())
        .stdout(Stdio::null());
    let _outer = Agent::start(&mut command);
    let [outside, inside] = ["outer", "inner"].map(|file| {
        let told = file_when_written(&fleet.path(file));
        std::fs::remove_file(fleet.path(file)).unwrap();
        let words: Vec<String> = told.split(' ').map(str::to_owned).collect();
        assert_eq!(words.len(), 3, "{told}");
        words
    });
    assert_eq!(outside[0], id);
    for (outside, inside) in outside.iter().zip(&inside) {
        assert_ne!(outside, inside);
    }
    fleet.tells(
        &inside[0],
        &json!({"currentTask": "inner", "taskProgress": 1.0, "state": "healthy"}),
    );
    fleet.tells(
        &outside[0],
        &json!({"currentTask": "outer", "taskProgress": null, "state": "healthy"}),
    );
}

#[test]
fn a_sidecar_inside_an_agent_has_an_id_and_sockets_of_its_own() {
    let fleet = Fleet::start();
    nested(&fleet, &[("HB_AGENT_ID", "outer-1")], "outer-1");
    nested(&fleet, &[("AGENT_ID", "outer-2")], "outer-2");
}

#[test]
fn a_transparent_agent_and_one_that_is_attached_to_speak_too() {
    let fleet = Fleet::start();
    let shell = r#"hbsidecar notify task=mine progress=5; exec sleep 1000"#;
    let mut transparent =
        fleet.hbsidecar(&["-q", "--id", "a1", "--transparent", "--", "sh", "-c", shell]);
    let _transparent = Agent::start(&mut transparent);
    fleet.tells("a1", &json!({"currentTask": "mine", "taskProgress": 5.0}));

    let socket = fleet.path("a2.sock");
    let shell =
        r#"until hbsidecar notify task=attached 2>/dev/null; do sleep 0.05; done; exec sleep 1000"#;
    let mut other = clean(Path::new("sh"));
    other
        .args(["-c", shell])
        .env("PATH", path_with_programs())
        .env("HB_SOCKET", &socket);
    let other = Agent::start(&mut other);
    let pid = other.0.0.id().to_string();
    let socket = socket.to_str().unwrap();
    let mut attached = fleet.hbsidecar(&["-q", "--id", "a2", "--socket", socket, "--pid", &pid]);
    let _attached = Agent::start(&mut attached);
    fleet.tells(
        "a2",
        &json!({"currentTask": "attached", "pid": other.0.0.id()}),
    );
}
