//! Pages of real failures at receivers that refuse what the real ones refuse; kills of the monitor and the store.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]

mod stalled;
#[path = "../../../tests/support/mod.rs"]
mod support;
mod troubles;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde_json::Value;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use support::receivers::{self, Receivers, Taken};
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

    /// A configuration whose alerts wait a tenth of the time, so that a page does not wait for 10 s.
    fn config(&self, text: &str) -> PathBuf {
        self.file("hbmonitor.toml", &format!("alert_patience = 0.1\n{text}"))
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn log(&self) -> String {
        support::text_of(self.path("log").as_ref())
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

/// As [`eventually`], for what waits by itself and may be tried again after a while.
fn in_a_minute<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    support::within(2 * support::SOON, what, String::new, condition)
}

#[test]
fn a_bot_edits_its_message_and_writes_what_is_new_into_its_thread_also_after_a_restart() {
    let (redis, server, place) = (Redis::start(), Receivers::start(|_, _| true), Place::new());
    place.file("token", "xoxb-s3cret");
    let text = format!(
        "[[receiver]]\nname = \"team\"\nkind = \"slack\"\nurl = \"{}\"\ntoken_file = \"{}\"\n\
         channel = \"#alerts\"\nprivate = true\n",
        server.url(""),
        place.path("token")
    );
    let config = place.config(&text);
    let first = monitor(&redis, &config, &place);
    fails(&redis, "writer-1").wait();
    let posts = "/api/chat.postMessage";
    let said = in_a_minute("the message", || server.good(posts).into_iter().next());
    assert_eq!(
        (&said.body["channel"], &said.body["thread_ts"]),
        (&"#alerts".into(), &Value::Null)
    );
    eventually("its name is kept", || {
        let kept: HashMap<String, String> = redis.run(&["HGETALL", "hb:incidents"]);
        let named = |record: &String| record.contains(receivers::SLACK_TS);
        kept.values().any(named).then_some(())
    });
    drop(first);
    let second = monitor(&redis, &config, &place);
    eventually("the monitor is ready", || {
        (second.get("/readyz")?.0 == 200).then_some(())
    });
    let url = format!("http://{}", second.address);
    let (done, printed) = command(&["ack", "writer-1", "--url", &url]);
    assert!(done, "{printed}");
    let edited = |start: &'static str| {
        server.wait("/api/chat.update", "an edit", |taken| {
            let text = taken.body["text"].as_str().unwrap_or_default();
            taken.answer.contains(r#""ok":true"#) && text.starts_with(start)
        })
    };
    edited("writer-1: acknowledged by ");
    let mut well = Running::start(
        sidecar(&redis.url(), "writer-1", "500ms")
            .args(["sleep", "60"])
            .stderr(Stdio::null()),
    );
    edited("● writer-1: healthy again");
    let threads = eventually("both are in the thread", || {
        let all = server.good(posts);
        (all.len() == 3).then_some(all)
    });
    for reply in &threads[1..] {
        assert_eq!(reply.body["thread_ts"], receivers::SLACK_TS);
    }
    assert!(!place.log().contains("xoxb-s3cret"), "{}", place.log());
    well.kill();
}

/// A server that reads a request's head and then answers as it likes; its address.
fn hostile(answer: fn(&mut TcpStream) -> std::io::Result<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut head = BufReader::new(stream.try_clone().unwrap()).lines();
                while head
                    .next()
                    .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
                {}
                let _ = answer(&mut stream); // the client has gone
            });
        }
    });
    format!("http://127.0.0.1:{port}/hook")
}

#[test]
fn a_receiver_that_answers_slowly_endlessly_or_with_garbage_is_dealt_with() {
    let place = Place::new();
    let servers = [
        // Taken: the status says so, whatever follows.
        (
            "drips",
            hostile(|stream| {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")?;
                loop {
                    stream.write_all(b".")?;
                    std::thread::park_timeout(Duration::from_millis(300));
                }
            }),
        ),
        (
            "endless",
            hostile(|stream| {
                stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
                loop {
                    stream.write_all(format!("10000\r\n{}\r\n", "x".repeat(65536)).as_bytes())?;
                }
            }),
        ),
        (
            "garbage",
            hostile(|stream| stream.write_all(&[0, 159, 146, 150, 13, 10])),
        ),
        ("silent", hostile(|_| Ok(()))),
        (
            "elsewhere",
            hostile(|stream| {
                stream.write_all(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n")
            }),
        ),
        (
            "busy",
            hostile(|stream| {
                stream.write_all(b"HTTP/1.1 429 Slow\r\nretry-after: 99999999999999999999\r\ncontent-length: 4\r\n\r\n\xff\x1b[2")
            }),
        ),
    ];
    let table = |(name, url): &(&str, String)| {
        format!(
            "[[receiver]]\nname = \"{name}\"\nkind = \"webhook\"\nurl = \"{url}\"\nprivate = true\n"
        )
    };
    let text: String = servers.iter().map(table).collect();
    let config = place.file("hbmonitor.toml", &text).display().to_string();
    let (done, printed) = command(&["alert", "test", "--config", &config]);
    assert!(!done, "{printed}");
    for line in [
        "drips: delivered",
        "endless: delivered",
        "garbage: NOT delivered",
        "silent: NOT delivered",
        "elsewhere: NOT delivered: it answered with a redirect (302), which is not followed",
        "busy: NOT delivered: 429",
    ] {
        assert!(
            printed.lines().any(|shown| shown.starts_with(line)),
            "{line}: {printed}"
        );
    }
    assert!(!printed.contains('\u{1b}'), "{printed:?}");
}

#[test]
fn a_command_that_hangs_is_killed_with_all_that_it_started() {
    let place = Place::new();
    let script = format!("sleep 600 & echo $! > {}; wait", place.path("child"));
    let text = format!(
        "[[receiver]]\nname = \"hangs\"\nkind = \"exec\"\ncommand = [\"sh\", \"-c\", \"{script}\"]\n"
    );
    let config = place.file("hbmonitor.toml", &text).display().to_string();
    let (done, printed) = command(&["alert", "test", "--config", &config]);
    assert!(
        !done && printed.contains("hangs: NOT delivered"),
        "{printed}"
    );
    let child = std::fs::read_to_string(place.path("child")).unwrap();
    in_a_minute("its child has ended", || {
        let words = std::fs::read(format!("/proc/{}/cmdline", child.trim()));
        words.unwrap_or_default().is_empty().then_some(())
    });
}

/// A mail server in Python, which prints what it takes.
struct MailServer {
    port: String,
    taken: PathBuf,
    _process: Running,
}

impl MailServer {
    /// `plain`, `starttls` or `tls`, with the certificate of the place.
    fn start(mode: &str, place: &Place) -> Self {
        let taken = PathBuf::from(place.path(&format!("mail-{mode}")));
        let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients");
        let mut command = support::clean(&support::venv().join("bin/python"));
        command
            .arg(clients.join("smtp_server.py"))
            .args([mode, &place.path("cert.pem"), &place.path("key.pem")])
            .stdout(File::create(&taken).unwrap())
            .stderr(Stdio::null());
        let process = Running::start(&mut command);
        let port = eventually("the mail server listens", || {
            let printed = std::fs::read_to_string(&taken).ok()?;
            Some(printed.lines().next()?.to_owned())
        });
        Self {
            port,
            taken,
            _process: process,
        }
    }

    fn letters(&self) -> Vec<Value> {
        let printed = std::fs::read_to_string(&self.taken).unwrap();
        let lines = printed.lines().skip(1);
        lines
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }
}

#[test]
fn mail_goes_out_encrypted_and_what_a_server_refuses_is_shown() {
    let place = Place::new();
    let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let trusted = place.file("cert.pem", &signed.cert.pem());
    place.file("key.pem", &signed.signing_key.serialize_pem());
    place.file("password", "s3cret-of-mail");
    let servers = ["starttls", "tls", "plain"].map(|mode| MailServer::start(mode, &place));
    let [starttls, tls, plain] = &servers;
    let mail = |name: &str, scheme: &str, server: &MailServer, to: &str, user: bool| {
        let login = match user {
            true => format!(
                "user = \"hb\"\npassword_file = \"{}\"\n",
                place.path("password")
            ),
            false => String::new(),
        };
        let port = &server.port;
        format!(
            "[[receiver]]\nname = \"{name}\"\nkind = \"email\"\nurl = \"{scheme}://localhost:{port}\"\n\
             from = \"hb <hb@example.com>\"\nto = [\"{to}\"]\nprivate = true\n{login}"
        )
    };
    let text = [
        mail("one", "smtp", starttls, "ann@example.com", true),
        mail("two", "smtps", tls, "bob@example.com", true),
        mail("gone", "smtp+plain", plain, "gone@example.com", false),
        mail("full", "smtp+plain", plain, "full@example.com", false),
        mail("wrong", "smtps", tls, "bob@example.com", false),
        mail("bare", "smtp", plain, "ann@example.com", false),
    ];
    let config = place.config(&text.concat());
    let redis = Redis::start();
    let monitor = Monitor::start_with(&redis.url(), |command| {
        let log = File::create(place.path("log")).unwrap();
        command.env("SSL_CERT_FILE", &trusted);
        command
            .arg("--config")
            .arg(&config)
            .stderr(Stdio::from(log));
    });
    fails(&redis, "writer-1").wait();
    for (server, to) in [(starttls, "ann@example.com"), (tls, "bob@example.com")] {
        let letter = in_a_minute("the mail is there", || server.letters().into_iter().next());
        let headers = &letter["headers"];
        assert_eq!(
            (&letter["tls"], &letter["to"][0]),
            (&Value::Bool(true), &to.into())
        );
        let subject = "✖ writer-1: exited with code 3 (no automatic action)";
        assert_eq!(headers["subject"], subject);
        assert_eq!(headers["auto-submitted"], "auto-generated");
        let page = headers["x-hb-page"].as_str().unwrap();
        assert_eq!(headers["references"], format!("<{page}@example.com>"));
        let body = letter["body"].as_str().unwrap();
        assert!(body.contains("exit.code: 3 (observed)"), "{body}");
    }
    let error = |name: &str| {
        let (_, status) = monitor.get("/v1/status")?;
        let all = status["receivers"].as_array()?.clone();
        let one = all.into_iter().find(|one| one["name"] == name)?;
        one["error"].as_str().map(str::to_owned)
    };
    for (name, says) in [
        ("gone", "no such user"),
        ("full", "mailbox full"),
        ("wrong", "530"),
        ("bare", "STARTTLS"),
    ] {
        let shown = in_a_minute("the refusal is shown", || error(name));
        assert!(shown.contains(says), "{name}: {shown}");
    }
    assert!(!place.log().contains("s3cret"), "{}", place.log());
    assert_eq!(plain.letters(), [Value::Null; 0]);
}

/// A real Alertmanager with its own command.
struct Alertmanager {
    url: String,
    _process: Running,
    _place: tempfile::TempDir,
}

impl Alertmanager {
    fn start() -> Self {
        let place = tempfile::tempdir().unwrap();
        let config = place.path().join("alertmanager.yml");
        std::fs::write(
            &config,
            "route: {receiver: none}\nreceivers: [{name: none}]\n",
        )
        .unwrap();
        let port = support::unused_port();
        let mut command = support::clean(Path::new("prometheus-alertmanager"));
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", place.path().display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=")
            .stderr(Stdio::null());
        let alertmanager = Self {
            url: format!("http://127.0.0.1:{port}"),
            _process: Running::start(&mut command),
            _place: place,
        };
        in_a_minute("Alertmanager answers", || {
            alertmanager.amtool(&["config", "show"])
        });
        alertmanager
    }

    fn amtool(&self, arguments: &[&str]) -> Option<String> {
        let mut command = support::clean(Path::new("amtool"));
        command.arg(format!("--alertmanager.url={}", self.url));
        let output = command
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        output.status.success().then_some(printed)
    }

    /// The alerts with this label, in the state `active` or also `suppressed`.
    fn alerts(&self, more: &[&str], matcher: &str) -> Vec<Value> {
        let asked = [&["alert", "query", "-o", "json"], more, &[matcher]].concat();
        let printed = self.amtool(&asked).unwrap_or_default();
        serde_json::from_str(&printed).unwrap_or_default()
    }
}

#[test]
fn a_real_alertmanager_shows_the_alert_silences_it_and_sees_its_end() {
    let (redis, manager, place) = (Redis::start(), Alertmanager::start(), Place::new());
    let text = format!(
        "[[receiver]]\nname = \"am\"\nkind = \"alertmanager\"\nurl = \"{}\"\nprivate = true\n",
        manager.url
    );
    let _monitor = monitor(&redis, &place.config(&text), &place);
    fails(&redis, "writer-1").wait();
    let one = |alerts: Vec<Value>| alerts.into_iter().next();
    let alert = in_a_minute("the alert is there", || {
        one(manager.alerts(&[], "agent=writer-1"))
    });
    let labels = &alert["labels"];
    assert_eq!(
        (&labels["alertname"], &labels["severity"]),
        (&Value::from("AgentCrashed"), &Value::from("critical"))
    );
    let watchdog = in_a_minute("the watchdog fires", || {
        one(manager.alerts(&[], "alertname=HbWatchdog"))
    });
    let silence = [
        "silence",
        "add",
        "-a",
        "ann",
        "-c",
        "it is known",
        "-d",
        "1h",
    ];
    manager
        .amtool(&[&silence[..], &["agent=writer-1"]].concat())
        .unwrap();
    in_a_minute("it is silenced", || {
        let is_quiet = manager.alerts(&[], "agent=writer-1").is_empty();
        let silenced = one(manager.alerts(&["--silenced"], "agent=writer-1"))?;
        (is_quiet && silenced["status"]["state"] == "suppressed").then_some(())
    });
    let mut well = Running::start(
        sidecar(&redis.url(), "writer-1", "500ms")
            .args(["sleep", "60"])
            .stderr(Stdio::null()),
    );
    in_a_minute("it is over", || {
        let known = manager.alerts(&["--silenced"], "agent=writer-1");
        known.is_empty().then_some(())
    });
    in_a_minute("the watchdog is sent again", || {
        let again = one(manager.alerts(&[], "alertname=HbWatchdog"))?;
        (again["endsAt"] != watchdog["endsAt"]).then_some(())
    });
    well.kill();
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
    place.config(&text)
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
    eventually("the outbox is empty", || {
        let outbox: HashMap<String, String> = redis.run(&["HGETALL", "hb:outbox"]);
        outbox.is_empty().then_some(())
    });
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
    let config = place.config(&text);
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
    in_a_minute("it is tried while it is down", || {
        (!server.all("/hook").is_empty()).then_some(())
    });
    assert_eq!(server.good("/hook").len(), 0);
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
    let monitor = monitor(&redis, &place.config(&text), &place);
    fails(&redis, "a1").wait();
    let taken = server.wait("/hook", "the page", |_| true);
    assert_eq!(taken.body["data"]["insteadOf"], "team");
    eventually("the refusal is shown", || {
        let (_, status) = monitor.get("/v1/status")?;
        let mut receivers = status["receivers"].as_array()?.iter();
        let team = receivers.find(|one| one["name"] == "team")?;
        (team["ok"] == false && team["error"] == "404 no_service").then_some(())
    });
    eventually("the incident has it", || {
        let (_, page) = monitor.get("/v1/incidents")?;
        (page["incidents"][0]["notified"][0]["outcome"] == "refused").then_some(())
    });
}

#[test]
fn a_private_address_gets_nothing_unless_the_configuration_allows_it() {
    let (redis, server, place) = (Redis::start(), Receivers::start(|_, _| true), Place::new());
    let url = format!("http://localhost:{}/hook", server.port);
    let text = format!("[[receiver]]\nname = \"hook\"\nkind = \"webhook\"\nurl = \"{url}\"\n");
    let monitor = monitor(&redis, &place.config(&text), &place);
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
            "[[receiver]]\nname = \"a\"\nkind = \"email\"\nurl = \"mail.example.com\"\nfrom = \"a@b.c\"\nto = [\"a@b.c\"]\n",
            "smtps://",
        ),
        (
            "[[receiver]]\nname = \"a\"\nkind = \"email\"\nurl = \"smtps://m\"\nfrom = \"a@b.c\"\nto = [\"nobody\"]\n",
            "no e-mail address",
        ),
        (
            "[[receiver]]\nname = \"a\"\nkind = \"stdout\"\nseverity = [\"loud\"]\n",
            "unknown severity",
        ),
        (
            "alert_patience = 0",
            "line 1: must be a number from 0.001 to 1000",
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
    let monitor = monitor(&redis, &place.config(&text), &place);
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
    eventually("its incident is shown as silenced", || {
        let (_, incidents) = monitor.get("/v1/incidents?agent=a1")?;
        (incidents["incidents"][0]["gate"] == "silenced").then_some(())
    });
    asks(&["silence", "a1", "--for", "0"]);
    server.wait("/v2/enqueue", "the page that was held back", |taken| {
        taken.body["payload"]["component"] == "a1"
    });
    asks(&["ack", "a1"]);
    server.wait("/v2/enqueue", "the acknowledgement", |taken| {
        taken.body["event_action"] == "acknowledge"
    });
    eventually("the store holds no silence", || {
        let kept: HashMap<String, String> = redis.run(&["HGETALL", "hb:silences"]);
        kept.is_empty().then_some(())
    });
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
    eventually("the metrics show it", || {
        let (_, metrics) = support::get_text(&monitor.address, "/metrics")?;
        let failed = "\nhb_config_last_reload_successful 0\n";
        metrics.contains(failed).then_some(())
    });
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
    assert!(!printed.contains("Secret"), "{printed}");
    let routing = place.path("routing");
    assert!(printed.contains(&format!("reads {routing}")), "{printed}");
}

#[test]
fn the_check_says_what_an_agent_gets_and_which_rung_of_a_policy_cannot_act() {
    let place = Place::new();
    let text = r#"
deadman_url = "https://hc.example.com/ping"
[[policy]]
match = { id = "writer-*", host = "gpu-*" }
ladder = ["exec", "alert"]
exec = ["/no/such/bring-back"]
[[policy]]
match = { id = "writer-*" }
severity = "warning"
on_stalled = "restart"
auto = false
[[receiver]]
name = "team"
kind = "stdout"
severity = ["warning"]
"#;
    let config = place.file("hbmonitor.toml", text).display().to_string();
    let asks = |more: &[&str]| command(&[&["check-config", "--config", &config], more].concat());
    let (done, printed) = asks(&["--agent", "writer-1"]);
    assert!(done, "{printed}");
    for line in [
        "deadman   https://hc.example.com/ping, each minute",
        "policy    1: its rung exec cannot act: /no/such/bring-back is no program that can be started",
        "agent     writer-1, type not given, host not given",
        "policy    2 of the file",
        "policy    1 of the file may come first; say --host",
        "ladder    sidecar docker pod kubernetes systemd exec replace alert",
        "auto      hb proposes, and a person decides (auto = false)",
        "stalled   a notice, then a restart",
        "page      warning: team",
        "notice    info: no one",
    ] {
        assert!(
            printed.lines().any(|shown| shown == line),
            "{line}: {printed}"
        );
    }
    let (_, printed) = asks(&["--agent", "writer-1", "--host", "gpu-1"]);
    assert!(
        printed.contains("policy    1 of the file\nladder    exec alert\n"),
        "{printed}"
    );
    let (_, printed) = asks(&["--agent", "reader"]);
    assert!(printed.contains("policy    the default\n"), "{printed}");
    let (done, printed) = asks(&["--agent", "a b"]);
    assert!(!done && printed.contains("--agent: "), "{printed}");
}
