//! Pages of real failures at receivers that refuse what the real ones refuse; kills of the monitor and the store.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]

#[path = "../../tests/support/mod.rs"]
mod support;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde_json::Value;
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use support::receivers::{Receivers, Taken};
use support::{Monitor, Redis, Running, eventually, sidecar};

const ROUTING_KEY: &str = "0123456789abcdef0123456789ABCDEF";
const SIGNING_KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OLD_SIGNING_KEY: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";
const SLACK_PATH: &str = "/services/T0SECRET/B0SECRET/XyZsecret";

/// Signed by one of the keys, over the very bytes.
fn verify(taken: &Taken, body: &[u8]) -> bool {
    let (id, at) = (
        taken.header("webhook-id"),
        taken.header("webhook-timestamp"),
    );
    if id.is_empty() || id.contains('.') {
        return false;
    }
    let signed = [format!("{id}.{at}.").as_bytes(), body].concat();
    [SIGNING_KEY, OLD_SIGNING_KEY].iter().all(|key| {
        let key = STANDARD
            .decode(key.strip_prefix("whsec_").unwrap())
            .unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        taken
            .header("webhook-signature")
            .split(' ')
            .any(|signature| {
                let tag = STANDARD.decode(signature.strip_prefix("v1,").unwrap_or_default());
                tag.is_ok_and(|tag| hmac::verify(&key, &signed, &tag).is_ok())
            })
    })
}

/// A configuration with its secrets in files.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

fn monitor(redis: &Redis, config: &Path, place: &Place) -> Monitor {
    Monitor::start_with(&redis.url(), |command| {
        let log = File::options()
            .create(true)
            .append(true)
            .open(place.path("log"));
        command
            .arg("--config")
            .arg(config)
            .arg("-v")
            .stderr(Stdio::from(log.unwrap()));
    })
}

/// As [`eventually`], for what waits ten seconds by itself and may be tried again after a while.
fn in_a_minute<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited a minute until {what}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// An agent that fails at once.
fn fails(redis: &Redis, id: &str) -> Running {
    Running::start(
        sidecar(&redis.url(), id, "500ms")
            .args(["sh", "-c", "exit 3"])
            .stderr(Stdio::null()),
    )
}

/// An agent whose machine is gone.
fn falls_silent(redis: &Redis, id: &str) {
    let mut command = sidecar(&redis.url(), id, "500ms");
    command
        .env("HB_DIE_WITH_SIDECAR", "true")
        .args(["sleep", "60"])
        .stderr(Stdio::null());
    let mut lost = Running::start(&mut command);
    eventually("it beats", || {
        let beat: Option<String> = redis.run(&["HGET", &format!("agent:{id}"), "beat"]);
        beat
    });
    lost.kill();
}

fn all_kinds(server: &Receivers, place: &Place) -> PathBuf {
    place.file("slack", &server.url(SLACK_PATH));
    place.file("routing", ROUTING_KEY);
    place.file("signing", &format!("{SIGNING_KEY}\n{OLD_SIGNING_KEY}\n"));
    let text = format!(
        r#"public_url = "https://hb.example.com"
[[receiver]]
name = "team-slack"
kind = "slack"
url_file = "{slack}"
private = true
[[receiver]]
name = "oncall"
kind = "pagerduty"
routing_key_file = "{routing}"
url = "{base}"
private = true
[[receiver]]
name = "am"
kind = "alertmanager"
url = "{base}"
private = true
[[receiver]]
name = "hook"
kind = "webhook"
url = "{base}/hook"
secret_file = "{signing}"
private = true
[[receiver]]
name = "command"
kind = "exec"
command = ["sh", "-c", "cat >> {executed}"]
"#,
        slack = place.path("slack"),
        routing = place.path("routing"),
        signing = place.path("signing"),
        executed = place.path("executed"),
        base = server.url(""),
    );
    place.file("hbmonitor.toml", &text)
}

#[test]
fn every_receiver_gets_the_page_and_its_end_in_its_own_format_and_no_secret_is_shown() {
    let (redis, server, place) = (Redis::start(), Receivers::start(verify), Place::new());
    let monitor = monitor(&redis, &all_kinds(&server, &place), &place);
    fails(&redis, "writer-1").wait();
    let slack = server.wait(SLACK_PATH, "a page", |_| true);
    assert_eq!(
        slack.body["text"],
        "✖ writer-1: exited with code 3 (no automatic action)"
    );
    let trigger = server.wait("/v2/enqueue", "a trigger", |taken| {
        taken.body["event_action"] == "trigger"
    });
    let key = &trigger.body["dedup_key"];
    assert_eq!(
        trigger.body["payload"]["summary"],
        "writer-1: exited with code 3 (no automatic action)"
    );
    let fired = server.wait("/hook", "an alert", |_| true);
    assert_eq!(fired.body["type"], "alert.fired");
    assert_eq!(fired.body["data"]["severity"], "critical");
    let alert = |taken: &Taken| {
        let alerts = taken.body.as_array().unwrap();
        alerts
            .iter()
            .any(|alert| alert["labels"]["agent"] == "writer-1")
    };
    server.wait("/api/v2/alerts", "an alert", alert);
    let mut well = Running::start(
        sidecar(&redis.url(), "writer-1", "500ms")
            .args(["sleep", "60"])
            .stderr(Stdio::null()),
    );
    server.wait(SLACK_PATH, "the end", |taken| {
        taken.body["text"]
            .as_str()
            .unwrap()
            .starts_with("● writer-1")
    });
    server.wait("/v2/enqueue", "a resolve", |taken| {
        taken.body["event_action"] == "resolve" && taken.body["dedup_key"] == *key
    });
    server.wait("/hook", "the end", |taken| {
        taken.body["type"] == "alert.resolved"
    });
    let executed = eventually("the command has both", || {
        let lines = std::fs::read_to_string(place.path("executed")).ok()?;
        (lines.lines().count() == 2).then_some(lines)
    });
    let occasions = executed
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["occasion"].clone());
    assert_eq!(Vec::from_iter(occasions), ["firing", "resolved"]);
    let incident = eventually("the incident says who knows", || {
        let (_, page) = monitor.get("/v1/incidents")?;
        let incident = page["incidents"][0].clone();
        (incident["notified"].as_array()?.len() == 10).then_some(incident)
    });
    let outbox: HashMap<String, String> = redis.run(&["HGETALL", "hb:outbox"]);
    assert_eq!(outbox, HashMap::new());
    let ps = std::fs::read_to_string(format!("/proc/{}/cmdline", monitor.process.pid())).unwrap();
    let (_, status) = monitor.get("/v1/status").unwrap();
    let (_, metrics) = support::get_text(&monitor.address, "/metrics").unwrap();
    for shown in [
        place.log(),
        ps,
        status.to_string(),
        metrics,
        incident.to_string(),
        executed,
    ] {
        for secret in [
            ROUTING_KEY,
            &SIGNING_KEY[6..],
            &OLD_SIGNING_KEY[6..],
            "XyZsecret",
        ] {
            assert!(!shown.contains(secret), "a secret is shown: {shown}");
        }
    }
    well.kill();
}

#[test]
fn pages_for_a_receiver_that_is_down_survive_kills_of_the_monitor_and_the_store() {
    let (mut redis, server, place) = (
        Redis::start_durable(),
        Receivers::start(|_, _| true),
        Place::new(),
    );
    server.answer(Some((503, "", "down for a while")));
    let text = format!(
        "[[receiver]]\nname = \"hook\"\nkind = \"webhook\"\nurl = \"{}\"\nprivate = true\n",
        server.url("/hook")
    );
    let config = place.file("hbmonitor.toml", &text);
    let mut monitor_now = monitor(&redis, &config, &place);
    let outbox = |redis: &Redis| redis.run::<HashMap<String, String>>(&["HGETALL", "hb:outbox"]);
    for (round, paged) in [(1, 1), (2, 2), (3, 2)] {
        match round {
            1 => drop(fails(&redis, "a1").wait()),
            2 => falls_silent(&redis, "a2"),
            _ => {}
        }
        in_a_minute("the page is in the outbox", || {
            let incidents: HashMap<String, String> = redis.run(&["HGETALL", "hb:incidents"]);
            let with_page = incidents
                .values()
                .filter(|incident| incident.contains(r#""page":"#));
            (with_page.count() == paged && outbox(&redis).len() >= paged).then_some(())
        });
        monitor_now.process.kill();
        if round == 2 {
            redis.down();
            redis.up();
        }
        monitor_now = monitor(&redis, &config, &place);
    }
    assert_eq!(server.good("/hook").len(), 0);
    let tried = server.all("/hook").len();
    server.answer(None);
    in_a_minute("the outbox is empty", || {
        outbox(&redis).is_empty().then_some(())
    });
    // The receiver also gets what hbmonitor reports of itself.
    let mut good = server.good("/hook");
    good.retain(|taken| taken.body["data"]["agentsTotal"] != 0);
    let agents: Vec<&Value> = good
        .iter()
        .map(|taken| &taken.body["data"]["agents"][0])
        .collect();
    assert_eq!(agents, ["a1", "a2"], "every page arrives, in order");
    assert_ne!(good[0].header("webhook-id"), good[1].header("webhook-id"));
    assert!(tried > 0, "nothing was tried while it was down");
}

#[test]
fn an_agent_that_waits_for_a_person_is_one_notice_also_across_a_restart_of_the_monitor() {
    let (redis, server, place) = (
        Redis::start_durable(),
        Receivers::start(verify),
        Place::new(),
    );
    let config = all_kinds(&server, &place);
    let first = monitor(&redis, &config, &place);
    let mut asker = sidecar(&redis.url(), "asker", "500ms");
    asker
        .env("HB_PATIENCE", "0.05")
        .args([
            "sh",
            "-c",
            "printf 'Continue? [y/N] '; read answer; exec sleep 60",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut asker = Running::spawn(&mut asker);
    let is_notice = |taken: &Taken| {
        let text = taken.body["text"].as_str().unwrap_or_default();
        text.starts_with("◆ asker: waiting for you")
    };
    let said = in_a_minute("the notice", || {
        server.good(SLACK_PATH).into_iter().find(is_notice)
    });
    assert!(said.body.to_string().contains("never restarts an agent"));
    eventually("the notice says who knows", || {
        let kept: HashMap<String, String> = redis.run(&["HGETALL", "hb:notices"]);
        let knows = |record: &String| record.matches(r#""outcome":"paged""#).count() == 4;
        kept.values().any(knows).then_some(())
    });
    let (done, printed) = command(&["check", "--url", &format!("http://{}", first.address)]);
    assert!(
        !done && printed.starts_with("WARNING: 1 notice: asker"),
        "{printed}"
    );
    drop(first);
    let second = monitor(&redis, &config, &place);
    eventually("the monitor is ready", || {
        (second.get("/readyz")?.0 == 200).then_some(())
    });
    asker.0.stdin.take().unwrap().write_all(b"y\n").unwrap();
    let ended = in_a_minute("its end", || {
        let over = |taken: &Taken| taken.body["type"] == "alert.resolved";
        server.good("/hook").into_iter().find(over)
    });
    let page = &ended.body["data"]["page"];
    let fired: Vec<Taken> = server.good("/hook");
    assert_eq!(fired.len(), 2, "one notice, one end");
    assert_eq!(fired[0].body["data"]["page"], *page);
    assert_eq!(server.good(SLACK_PATH).len(), 1);
    assert_eq!(server.good("/v2/enqueue").len(), 0, "no page");
    let (_, incidents) = second.get("/v1/incidents").unwrap();
    assert_eq!(incidents["incidents"], serde_json::json!([]));
    asker.kill();
}

#[test]
fn a_receiver_that_refuses_is_shown_and_its_fallback_takes_over() {
    let (redis, server, place) = (Redis::start(), Receivers::start(|_, _| true), Place::new());
    place.file("slack", &server.url("/nothing/here/secret"));
    let text = format!(
        "[[receiver]]\nname = \"team\"\nkind = \"slack\"\nurl_file = \"{}\"\nprivate = true\nfallback = \"hook\"\n\
         [[receiver]]\nname = \"hook\"\nkind = \"webhook\"\nurl = \"{}\"\nprivate = true\nseverity = [\"info\"]\n",
        place.path("slack"),
        server.url("/hook")
    );
    let monitor = monitor(&redis, &place.file("hbmonitor.toml", &text), &place);
    fails(&redis, "a1").wait();
    let taken = server.wait("/hook", "the page", |_| true);
    assert_eq!(taken.body["data"]["insteadOf"], "team");
    let (_, status) = monitor.get("/v1/status").unwrap();
    let team = status["receivers"]
        .as_array()
        .unwrap()
        .iter()
        .find(|r| r["name"] == "team")
        .unwrap();
    assert_eq!(
        (&team["ok"], &team["error"]),
        (&Value::Bool(false), &Value::from("404 no_service"))
    );
    let (_, page) = monitor.get("/v1/incidents").unwrap();
    assert_eq!(page["incidents"][0]["notified"][0]["outcome"], "refused");
}

#[test]
fn a_private_address_gets_nothing_unless_the_configuration_allows_it() {
    let (redis, server, place) = (Redis::start(), Receivers::start(|_, _| true), Place::new());
    let url = format!("http://localhost:{}/hook", server.port);
    let text = format!("[[receiver]]\nname = \"hook\"\nkind = \"webhook\"\nurl = \"{url}\"\n");
    let monitor = monitor(&redis, &place.file("hbmonitor.toml", &text), &place);
    fails(&redis, "a1").wait();
    eventually("the receiver is shown as failing", || {
        let (_, status) = monitor.get("/v1/status")?;
        let error = status["receivers"][0]["error"].as_str()?.to_owned();
        error.contains("private = true").then_some(())
    });
    assert!(server.all("/hook").is_empty());
}

#[test]
fn a_receiver_that_cannot_be_used_is_refused_at_the_start_with_78() {
    let place = Place::new();
    place.file("short", "abc");
    for (text, says) in [
        (
            "[[receiver]]\nname = \"a\"\nkind = \"slak\"\n",
            "unknown kind \"slak\"",
        ),
        (
            "[[receiver]]\nname = \"a b\"\nkind = \"stdout\"\n",
            "letters, digits",
        ),
        (
            "[[receiver]]\nname = \"a\"\nkind = \"stdout\"\nsevrity = []\n",
            "line 4: unknown field `sevrity`",
        ),
        (
            "[[receiver]]\nname = \"a\"\nkind = \"stdout\"\nurl = \"http://x\"\n",
            "url does not belong",
        ),
        (
            "[[receiver]]\nname = \"a\"\nkind = \"stdout\"\nfallback = \"b\"\n",
            "fallback",
        ),
        (
            "[[receiver]]\nname = \"a\"\nkind = \"slack\"\n",
            "url_file is missing",
        ),
        (
            "[[receiver]]\nname = \"a\"\nkind = \"stdout\"\nseverity = [\"loud\"]\n",
            "unknown severity",
        ),
        (
            &format!(
                "[[receiver]]\nname = \"a\"\nkind = \"pagerduty\"\nrouting_key_file = \"{}\"\n",
                place.path("short")
            ),
            "32 letters",
        ),
        (
            &format!(
                "[[receiver]]\nname = \"a\"\nkind = \"slack\"\nurl_file = \"{}\"\n",
                place.path("absent")
            ),
            "cannot read",
        ),
    ] {
        let config = place.file("hbmonitor.toml", text);
        let output = support::clean(&support::program("hbmonitor"))
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{err}");
        assert!(err.contains(says), "{err}");
    }
}

/// A command of this user: whether it succeeded, and what it printed.
fn command(arguments: &[&str]) -> (bool, String) {
    let output = support::clean(&support::program("hbmonitor"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let printed = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(printed).unwrap())
}

#[test]
fn a_silence_holds_a_page_back_and_an_acknowledgement_reaches_the_receiver() {
    let (redis, server, place) = (Redis::start(), Receivers::start(|_, _| true), Place::new());
    place.file("routing", ROUTING_KEY);
    let text = format!(
        "[[receiver]]\nname = \"oncall\"\nkind = \"pagerduty\"\nurl = \"{}\"\nrouting_key_file = \"{}\"\nprivate = true\n",
        server.url(""),
        place.path("routing")
    );
    let monitor = monitor(&redis, &place.file("hbmonitor.toml", &text), &place);
    let url = format!("http://{}", monitor.address);
    let asks = |arguments: &[&str]| {
        let (done, printed) = command(&[arguments, &["--url", &url]].concat());
        assert!(done, "{printed}");
    };
    eventually("the monitor is ready", || {
        (monitor.get("/readyz")?.0 == 200).then_some(())
    });
    asks(&["silence", "a1", "--for", "1h", "-m", "it is being mended"]);
    eventually("the silence is listed", || {
        let (_, listed) = monitor.get("/v1/silences")?;
        (listed["silences"][0]["matchers"][0]["value"] == "a1").then_some(())
    });
    fails(&redis, "a1").wait();
    falls_silent(&redis, "a2");
    let trigger = server.wait("/v2/enqueue", "the page of the other", |taken| {
        taken.body["event_action"] == "trigger"
    });
    assert_eq!(trigger.body["payload"]["component"], "a2");
    let (_, incidents) = monitor.get("/v1/incidents?agent=a1").unwrap();
    assert_eq!(incidents["incidents"][0]["gate"], "silenced");
    asks(&["silence", "a1", "--for", "0"]);
    server.wait("/v2/enqueue", "the page that was held back", |taken| {
        taken.body["payload"]["component"] == "a1"
    });
    asks(&["ack", "a1"]);
    server.wait("/v2/enqueue", "the acknowledgement", |taken| {
        taken.body["event_action"] == "acknowledge"
    });
    let kept: HashMap<String, String> = redis.run(&["HGETALL", "hb:silences"]);
    assert_eq!(kept, HashMap::new());
}

#[test]
fn a_reload_takes_a_good_file_and_leaves_a_bad_one() {
    let (redis, server, place) = (Redis::start(), Receivers::start(|_, _| true), Place::new());
    let good = format!(
        "[[receiver]]\nname = \"hook\"\nkind = \"webhook\"\nurl = \"{}\"\nprivate = true\n",
        server.url("/hook")
    );
    let config = place.file("hbmonitor.toml", "");
    let monitor = monitor(&redis, &config, &place);
    let status = || monitor.get("/v1/status").unwrap().1;
    assert_eq!(status()["receivers"], serde_json::json!([]));
    place.file("hbmonitor.toml", &good);
    monitor.process.signal("HUP");
    eventually("the receiver is there", || {
        (status()["receivers"][0]["name"] == "hook").then_some(())
    });
    place.file(
        "hbmonitor.toml",
        "[[receiver]]\nname = \"hook\"\nkindd = 1\n",
    );
    monitor.process.signal("HUP");
    eventually("the bad file is shown", || {
        (status()["configuration"]["ok"] == false).then_some(())
    });
    assert!(
        status()["configuration"]["error"]
            .as_str()
            .unwrap()
            .contains("line 3")
    );
    assert_eq!(
        status()["receivers"][0]["name"],
        "hook",
        "the one before goes on"
    );
    let (_, metrics) = support::get_text(&monitor.address, "/metrics").unwrap();
    assert!(metrics.contains("\nhb_config_last_reload_successful 0\n"));
    let page = server.wait("/hook", "the page about it", |_| true);
    assert!(
        page.body["data"]["message"]
            .as_str()
            .unwrap()
            .contains("configuration")
    );
    place.file("hbmonitor.toml", &good);
    monitor.process.signal("HUP");
    server.wait("/hook", "its end", |taken| {
        taken.body["type"] == "alert.resolved"
    });
}

#[test]
fn a_test_message_shows_what_each_receiver_answers_and_the_check_what_there_is() {
    let (server, place) = (Receivers::start(verify), Place::new());
    let config = all_kinds(&server, &place).display().to_string();
    place.file("slack", &server.url("/nothing/here/XyZsecret"));
    let (done, printed) = command(&["alert", "test", "--config", &config]);
    assert!(!done, "{printed}");
    for line in [
        "hook: delivered",
        "am: delivered",
        "oncall: delivered",
        "team-slack: NOT delivered: 404 no_service",
    ] {
        assert!(printed.contains(line), "{printed}");
    }
    let (done, printed) = command(&["alert", "test", "hook", "--config", &config]);
    assert!(done && printed == "hook: delivered\n", "{printed}");
    let (done, printed) = command(&["check-config", "--config", &config]);
    assert!(
        done && printed.contains("oncall: pagerduty, critical"),
        "{printed}"
    );
    assert!(!printed.contains("secret"), "{printed}");
}
