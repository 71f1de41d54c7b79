//! `hbmonitor ls` for no agent, one and ten thousand: as JSON that jq reads, and as a table that fits its terminal.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]
#![expect(clippy::disallowed_methods, reason = "tests run the real world")]

mod support;

use std::ops::Range;
use std::process::{Command, Stdio};
use support::pty::Terminal;
use support::{Monitor, Redis, clean, eventually, program};

/// A monitor without agents, and its store.
fn place() -> (Redis, Monitor) {
    let redis = Redis::start();
    let monitor = Monitor::start(&redis.url());
    eventually("the monitor is ready", || {
        (monitor.get("/readyz")?.0 == 200).then_some(())
    });
    (redis, monitor)
}

/// These agents beat once; `total` are known then.
fn beats(redis: &Redis, monitor: &Monitor, agents: Range<usize>, task: &str) {
    let total = agents.end;
    let mut connection = redis.client().get_connection().unwrap();
    let mut all = redis::pipe();
    for n in agents {
        let beat = format!(
            r#"{{"agentId":"agent-{n:05}","agentType":"writer","timestamp":1764000000000,"sequence":1,"status":"busy","currentTask":"{task}","taskProgress":42,"metrics":{{"cpuPercent":3.1,"memoryMB":182,"activeTasks":1,"queueDepth":0,"tokensUsedThisHour":0,"errorsLast5Min":0}},"hb":{{"v":1,"intervalMs":600000,"epoch":7,"slot":1,"host":"node-1","pid":7,"activity":{{"verdict":"working","since":1763999000000,"sentence":"Progress reported: 42 %.","evidence":[]}}}}}}"#
        );
        all.cmd("PUBLISH").arg("heartbeats").arg(beat).ignore();
    }
    if total > 0 {
        let () = all.query(&mut connection).unwrap();
    }
    eventually("all of them are there", || {
        let (_, page) = monitor.get("/health/agents?limit=1")?;
        (page["total"] == total).then_some(())
    });
}

fn bash(monitor: &Monitor, script: &str) -> String {
    let mut bash = clean("bash".as_ref());
    bash.args(["-c", &format!("set -o pipefail; {script}")])
        .env("HB_URL", format!("http://{}", monitor.address))
        .env("HB", program("hbmonitor"))
        .stdin(Stdio::null());
    let output = bash.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && errors.is_empty(),
        "{script}: {errors}"
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn jq_reads_the_list_of_no_agent_of_one_and_of_ten_thousand() {
    assert!(
        Command::new("jq").arg("--version").output().is_ok(),
        "jq is needed"
    );
    let (redis, monitor) = place();
    for (before, agents) in [(0, 0), (0, 1), (1, 10_000)] {
        beats(
            &redis,
            &monitor,
            before..agents,
            "Draft a \\\"report\\\" \\u202e\\u0007",
        );
        let counted = bash(
            &monitor,
            r#""$HB" ls --json | jq -s 'map(select(.state == "healthy" and .activity.verdict == "working") | .agentId) | unique | length'"#,
        );
        assert_eq!(counted, agents.to_string());
    }
    let first = bash(
        &monitor,
        r#""$HB" ls --json -q agent-00007 | jq -r .currentTask"#,
    );
    assert_eq!(first, "Draft a \"report\" \u{202e}\u{7}");
}

/// What `ls` prints on a terminal of this size.
fn on_a_terminal(monitor: &Monitor, rows: u16, columns: u16) -> Vec<String> {
    let mut terminal = Terminal::start();
    terminal.resize(rows, columns);
    let program = program("hbmonitor");
    terminal.type_line("unset COLUMNS; export LC_ALL=C.UTF-8 NO_COLOR=1");
    terminal.wait_for_prompt();
    terminal.type_line(&format!(
        "{} ls --url http://{}",
        program.display(),
        monitor.address
    ));
    let shown = terminal.wait_for_prompt();
    let lines = shown
        .lines()
        .map(|line| line.trim_end_matches('\r').to_owned());
    lines
        .skip_while(|line| !line.starts_with("STATE"))
        .collect()
}

#[test]
fn a_table_fits_its_terminal_and_a_pipe_has_it_whole() {
    let (redis, monitor) = place();
    let task = "Write integration tests for the checkout flow of the shop, and then for the invoices that it sends to people who paid by transfer within thirty days of the order";
    beats(&redis, &monitor, 0..40, task);
    for (rows, columns, titles) in [
        (24, 80, "STATE AGENT FOR DONE DOING"),
        (
            50,
            200,
            "STATE AGENT TYPE HOST FOR DONE BEAT CPU MEMORY RESTARTS UP DOING",
        ),
    ] {
        let lines = on_a_terminal(&monitor, rows, columns);
        let words: Vec<&str> = lines[0].split_whitespace().collect();
        assert_eq!(words.join(" "), titles);
        let table = &lines[1..41];
        for line in table {
            assert!(line.starts_with("● working"), "{line}");
            assert!(line.ends_with('…'), "only the last column is cut: {line}");
            assert_eq!(line.chars().count(), usize::from(columns), "{line}");
        }
        assert_eq!(lines[42], "40 agents: 40 are fine.");
    }
    let piped = bash(&monitor, r#""$HB" ls | cat"#);
    assert_eq!(piped.lines().count(), 40);
    for line in piped.lines() {
        assert_eq!(line.split('\t').count(), 7, "{line}");
        assert!(line.contains(task), "{line}");
    }
}
