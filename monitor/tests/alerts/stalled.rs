//! An agent that stalls and is to be restarted: real programs from the verdict to the restart and the messages about both.

use super::support::receivers::{Receivers, Taken};
use super::support::{Redis, Running, clean, eventually, program, signal};
use super::{Place, in_a_minute, monitor};
use serde_json::Value;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Owes work and waits for what will not come, while a timer keeps its loop turning. After SIGUSR2 it makes progress.
const DEAD_AWAIT: &str = r#"
const line = require('net').connect(process.env.HB_SOCKET);
line.write('task="dig" state=working\n');
let done = 0;
process.on('SIGUSR2', () => { done += 1; });
setInterval(() => { if (done > 0) line.write(`progress=${done++ % 100}\n`); }, 50);
"#;

/// At a twentieth of the time: a suspicion after 4 s, a restart after 4 s more.
const PATIENCE: [&str; 4] = ["--patience", "0.05", "--stall-after", "80s"];

struct Stage {
    redis: Redis,
    server: Receivers,
    _monitor: super::support::Monitor,
    _place: Place,
    _agent: Running,
}

impl Stage {
    fn start(policy: &str, flags: &[&str]) -> Self {
        let (redis, server, place) = (Redis::start(), Receivers::start(|_, _| true), Place::new());
        let text = format!(
            "{policy}[[receiver]]\nname = \"hook\"\nkind = \"webhook\"\nurl = \"{}\"\nprivate = true\n",
            server.url("/hook")
        );
        // The message must be out long before the restart.
        let config = place.file("hbmonitor.toml", &format!("alert_patience = 0.02\n{text}"));
        let monitor = monitor(&redis, &config, &place);
        let mut agent = clean(&program("hbsidecar"));
        agent
            .args([
                "-q",
                "--redis-url",
                &redis.url(),
                "--id",
                "digger",
                "--interval",
                "300ms",
            ])
            .args(PATIENCE)
            .args(flags)
            .args(["--", "node", "-e", DEAD_AWAIT])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Self {
            _agent: Running::start(&mut agent),
            _monitor: monitor,
            _place: place,
            redis,
            server,
        }
    }

    /// The first message that names a restart.
    fn named(&self) -> Taken {
        let names = |taken: &Taken| text(taken).contains("(restart at ");
        in_a_minute("the message names the restart", || {
            self.server.good("/hook").into_iter().find(names)
        })
    }

    fn ended(&self, named: &Taken) -> Taken {
        let page = &named.body["data"]["page"];
        in_a_minute("the message is over", || {
            let is_over = |taken: &Taken| {
                taken.body["type"] == "alert.resolved" && taken.body["data"]["page"] == *page
            };
            self.server.good("/hook").into_iter().find(is_over)
        })
    }

    fn beat(&self) -> Value {
        eventually("it beats", || {
            let beat: Option<String> = self.redis.run(&["HGET", "agent:digger", "beat"]);
            serde_json::from_str(&beat?).ok()
        })
    }

    fn restarts(&self) -> u64 {
        self.beat()["hb"]["restarts"].as_u64().unwrap()
    }
}

fn text(taken: &Taken) -> &str {
    taken.body["data"]["message"].as_str().unwrap_or_default()
}

fn names_restarts_and_ends(stage: &Stage) {
    let named = stage.named();
    assert!(
        text(&named).starts_with("▲ digger: stalled (restart at "),
        "{named:?}"
    );
    assert!(text(&named).ends_with(" UTC unless it moves)"), "{named:?}");
    in_a_minute("it is restarted", || (stage.restarts() > 0).then_some(()));
    stage.ended(&named);
}

#[test]
fn its_sidecar_restarts_it_at_the_time_that_the_message_names() {
    names_restarts_and_ends(&Stage::start("", &["--on-stalled", "restart"]));
}

#[test]
fn its_policy_restarts_it_at_the_time_that_the_message_names() {
    let policy = "[[policy]]\nmatch = { id = \"dig*\" }\non_stalled = \"restart\"\n";
    names_restarts_and_ends(&Stage::start(policy, &[]));
}

#[test]
fn progress_cancels_the_restart_and_ends_the_message() {
    let stage = Stage::start("", &["--on-stalled", "restart"]);
    let named = stage.named();
    let before = stage.beat();
    signal(before["hb"]["pid"].as_u64().unwrap(), "USR2");
    stage.ended(&named);
    // The restart was due by now: 4 s after the suspicion, which the beat dates.
    let due = UNIX_EPOCH
        + Duration::from_millis(before["hb"]["activity"]["since"].as_u64().unwrap() + 6000);
    in_a_minute("the time of the restart has passed", || {
        (SystemTime::now() > due).then_some(())
    });
    assert_eq!(stage.restarts(), before["hb"]["restarts"].as_u64().unwrap());
}
