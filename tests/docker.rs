//! hbsidecar as PID 1 of a container, under a real Docker engine.
#![expect(clippy::disallowed_methods, reason = "tests run the real world")]

mod support;

use std::process::Output;
use std::time::{Duration, Instant};
use support::docker::Docker;
use support::pty::{CTRL_C, CTRL_Z, Terminal};
use support::unix_redis::UnixRedis;
use support::{eventually, saw};

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_exit_code_of_the_container_is_the_agents() {
    let docker = Docker::shared();
    for (end, code) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("exit 255", 255),
        ("kill -TERM $$", 128 + 15),
        ("kill -KILL $$", 128 + 9),
        ("kill -40 $$", 128 + 40),
    ] {
        let sidecar = ["hbsidecar", "--restart", "never", "--", "sh", "-c", end];
        let output = docker.run(&[], &sidecar);
        assert_eq!(output.status.code(), Some(code), "{end}: {output:?}");
    }
}

#[test]
fn a_command_that_is_not_there_is_127_and_one_that_cannot_be_run_126() {
    let docker = Docker::shared();
    for (command, code) in [("no-such-agent", 127), ("/tmp", 126)] {
        let output = docker.run(&[], &["hbsidecar", "--", command]);
        assert_eq!(output.status.code(), Some(code), "{command}: {output:?}");
    }
}

#[test]
fn pid_1_reaps_1000_orphans_and_no_exit_code_is_lost() {
    let docker = Docker::shared();
    let seed = std::process::id().to_string();
    println!("seed {seed}");
    let agent = ["probe", "orphans", "1000", &seed, "42"];
    let output = docker.run(
        &[],
        &[&["hbsidecar", "--restart", "never", "--"][..], &agent].concat(),
    );
    assert_eq!(
        (text(&output).trim(), output.status.code()),
        ("wrong 0 left 0 zombies 0", Some(42)),
        "{output:?}"
    );
}

#[test]
fn docker_stop_reaches_the_agent_and_its_own_code_comes_back() {
    let docker = Docker::shared();
    let container = docker.spawn(&[], &["hbsidecar", "--", "probe", "listen"]);
    container.wait_for_output("ready");
    // Had Docker lost its patience, its KILL would have made it 137.
    container.docker(&["stop", "--time", "120"]);
    assert_eq!(container.exit_code(), 42, "{}", container.output());
    assert!(container.output().contains("signal 15 "));
}

#[test]
fn an_agent_that_ignores_term_is_gone_after_the_grace_and_before_docker_loses_patience() {
    let docker = Docker::shared();
    let deaf = "trap '' TERM; echo ready; while :; do sleep 1; done";
    let container = docker.spawn(&[], &["hbsidecar", "--grace", "1s", "--", "sh", "-c", deaf]);
    container.wait_for_output("ready");
    let asked = Instant::now();
    container.docker(&["stop", "--time", "120"]);
    let took = asked.elapsed();
    assert_eq!(container.exit_code(), 128 + 9);
    // Long before Docker's patience ends, and twenty times what the grace and the cleaning up take here.
    assert!(took < Duration::from_secs(60), "gone after {took:?}");
}

#[test]
fn every_signal_reaches_the_agent_once_and_a_real_time_one_keeps_its_value() {
    let docker = Docker::shared();
    let container = docker.spawn(&[], &["hbsidecar", "--", "probe", "listen"]);
    container.wait_for_output("ready");
    let sent: Vec<u32> = container
        .exec(&["probe", "send", "1"])
        .lines()
        .filter_map(|line| line.strip_prefix("sent ")?.parse().ok())
        .collect();
    assert!(sent.contains(&1) && sent.contains(&64), "{sent:?}");
    let value = |signal: u32| if signal < 34 { 0 } else { 1000 + signal };
    let heard = || {
        let mut heard: Vec<String> = container
            .output()
            .lines()
            .filter(|line| line.starts_with("signal "))
            .map(str::to_owned)
            .collect();
        heard.sort();
        heard
    };
    let mut due: Vec<String> = sent
        .iter()
        .map(|n| format!("signal {n} value {}", value(*n)))
        .collect();
    due.sort();
    eventually("each of them has come", || {
        let heard = heard();
        let missing: Vec<&String> = due.iter().filter(|line| !heard.contains(line)).collect();
        saw("missing", &missing);
        missing.is_empty().then_some(())
    });
    // TERM comes last: whatever was sent twice has come by now.
    container.docker(&["kill", "--signal", "TERM"]);
    assert_eq!(container.exit_code(), 42);
    due.push("signal 15 value 0".to_owned());
    due.sort();
    assert_eq!(heard(), due, "each of them once");
}

#[test]
fn an_agent_that_failed_is_started_again_inside_the_container() {
    let docker = Docker::shared();
    let fails_once = "echo started; [ -e /tmp/second ] && exit 0; touch /tmp/second; exit 1";
    let output = docker.run(&[], &["hbsidecar", "--", "sh", "-c", fails_once]);
    assert_eq!(
        (text(&output).as_str(), output.status.code()),
        ("started\nstarted\n", Some(0)),
        "{output:?}"
    );
}

/// Kubernetes mounts such a file, and shows what stands in it.
#[test]
fn why_it_failed_stands_in_the_termination_log_and_a_good_end_leaves_it_empty() {
    let docker = Docker::shared();
    let place = tempfile::tempdir().unwrap();
    let log = place.path().join("log");
    let mount = format!("{}:/dev/termination-log", log.display());
    for (agent, left) in [
        (
            "exit 7",
            "the agent a1 ended: exit code 7, after 1 restart\n",
        ),
        (
            "kill -KILL $$",
            "the agent a1 ended: killed by SIGKILL, after 1 restart\n",
        ),
        ("exit 0", ""),
    ] {
        std::fs::write(&log, "").unwrap();
        let flags = [
            "--id",
            "a1",
            "--max-restarts",
            "1",
            "--backoff",
            "10ms",
            "--",
        ];
        let command = [&["hbsidecar"][..], &flags, &["sh", "-c", agent]].concat();
        docker.run(&["-v", &mount], &command);
        assert_eq!(std::fs::read_to_string(&log).unwrap(), left, "{agent}");
    }
}

#[test]
fn an_agent_that_was_out_of_memory_is_called_oom_killed() {
    let docker = Docker::shared();
    let store = UnixRedis::start();
    let mount = format!("{}:/store", store.dir.path().display());
    let memory = ["-m", "64m", "--memory-swap", "64m", "-v", &mount];
    let sidecar = ["hbsidecar", "--redis-url", "redis+unix:///store/redis.sock"];
    let options = ["--id", "greedy", "--restart", "never", "--"];
    // The whole of an endless line has to be kept: until there is no memory for it. First the store is reached.
    let reached = "until hbsidecar healthcheck --beats >/dev/null 2>&1; do sleep 0.1; done";
    let agent = format!("{reached}; exec tail /dev/zero");
    let agent = ["sh", "-c", &agent];
    let output = docker.run(&memory, &[&sidecar[..], &options, &agent].concat());
    assert_eq!(output.status.code(), Some(128 + 9), "{output:?}");
    let detail = eventually("the end is in the stream", || {
        let events = store.events();
        let end = events.iter().find(|event| event["event"] == "exited")?;
        Some(end["detail"].clone())
    });
    let detail: serde_json::Value = serde_json::from_str(&detail).unwrap();
    assert_eq!(detail["reason"], "oom_killed", "{detail}");
}

#[test]
fn a_sidecar_in_a_container_beside_the_agents_watches_its_process_1() {
    let docker = Docker::shared();
    let agent = docker.spawn(&[], &["sleep", "600"]);
    let beside = format!("--pid=container:{}", agent.id());
    let watch = "exec hbsidecar -v --redis-url redis://127.0.0.1:1 --pid 1 2>&1";
    let watcher = docker.spawn(&[&beside], &["sh", "-c", watch]);
    watcher.wait_for_output("attached to process 1");
}

/// Without privileges, behind Docker's own filter of system calls: what a thread waits for and until when is read all the
/// same, from the call's arguments and the process' memory, and so are its connections.
#[test]
fn the_verdict_is_the_same_inside_the_container_for_root_and_for_anybody() {
    let docker = Docker::shared();
    let asks = "sleep 900 | nc -l -p 7000 >/dev/null & until grep -q :1B58 /proc/net/tcp*; do sleep 0.1; done; exec wget -O- http://127.0.0.1:7000/";
    for (agent, verdict, evidence) in [
        ("exec sleep 600", "sleeping", "thread.deadline"),
        (asks, "waiting_model", "127.0.0.1:7000"),
    ] {
        for user in ["0:0", "1000:1000"] {
            let store = UnixRedis::start();
            let mount = format!("{}:/store", store.dir.path().display());
            let sidecar = ["hbsidecar", "--redis-url", "redis+unix:///store/redis.sock"];
            let options = [
                "--id",
                "boxed",
                "--interval",
                "200ms",
                "--patience",
                "0.05",
                "--",
            ];
            let command = [&sidecar[..], &options, &["sh", "-c", agent]].concat();
            let _container = docker.spawn(&["-v", &mount, "--user", user], &command);
            eventually(&format!("{agent:?} of {user} is {verdict}"), || {
                let beat = store.beat("boxed")?;
                let activity = &beat["hb"]["activity"];
                let said = activity["evidence"].to_string();
                let ok = activity["verdict"] == verdict && said.contains(evidence);
                ok.then_some(())
            });
        }
    }
}

#[test]
fn a_terminal_agent_in_a_container_is_interrupted_and_never_stranded() {
    let docker = Docker::shared();
    let mut terminal = Terminal::start();
    let agent = r#"trap "echo interrupted" INT; echo ready; while ! read line; do :; done; echo "got $line"; exit 4"#;
    let run = docker.run_on_a_terminal();
    terminal.type_line(&format!(
        "{run} hbsidecar --restart never -- sh -c '{agent}'"
    ));
    terminal.wait_for("ready\r\n");
    terminal.press(CTRL_C);
    terminal.wait_for("interrupted\r\n");
    // A container has no shell that could bring a stopped job back: for its PID 1 Ctrl-Z does nothing.
    terminal.press(CTRL_Z);
    terminal.type_line("words");
    terminal.wait_for("got words\r\n");
    terminal.wait_for_prompt();
    assert_eq!(terminal.last_code(), 4);
}
