//! `hbsidecar diagnose PID`: one verdict with evidence on any process. No store, no privileges, nothing changed.

use crate::clock;
use crate::config::exit;
use crate::evidence::Evidence;
use clap::Args;
use heartbeat::activity::{Activity, Confidence, Input, Judgement, Settings, is_flag};
use heartbeat::beat;
use heartbeat::card::CardProcess;
use heartbeat::evidence::{Depth, Sample};
use heartbeat::moment::Moment;
use serde::Serialize;
use std::time::Duration;

/// How long a diagnosis looks when nothing else is asked: two looks show what moves.
const WATCH: Duration = Duration::from_secs(2);
/// Between two looks of a diagnosis.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Of the time watched: what follows from the waits alone must last so long.
const GLANCE_SHARE: f64 = 0.6;
/// Exit code: it needs attention.
const ATTENTION: u8 = 3;
/// Exit code: no such process.
const NO_PROCESS: u8 = 4;

/// What to look at and how long.
#[derive(Args, Debug, Clone)]
pub(crate) struct DiagnoseArgs {
    /// The process; its children belong to it
    pid: u32,
    /// How long to look before the verdict: 500ms, 10s, 5m
    #[arg(long, value_parser = humantime::parse_duration, value_name = "DURATION")]
    watch: Option<Duration>,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
    /// Multiplies every waiting time
    #[arg(
        long,
        env = "HB_PATIENCE",
        default_value_t = 1.0,
        value_name = "FACTOR"
    )]
    patience: f64,
}

#[derive(Serialize)]
struct Report<'a> {
    pid: u32,
    verdict: beat::Verdict,
    confidence: &'static str,
    sentence: &'a str,
    evidence: &'a [beat::Evidence],
    tree: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    pid: u32,
    command: String,
    state: String,
    waiting_on: String,
}

/// Looks, and says what it saw. Returns the exit code: 0 fine, 3 needs attention, 4 no such process.
pub(crate) fn run(args: &DiagnoseArgs) -> u8 {
    let text = match look(args) {
        Some((judgement, sample)) => {
            let report = report(args.pid, &judgement, &sample);
            let text = if args.json {
                json(&report)
            } else {
                plain(&report, &sample)
            };
            let code = if is_flag(judgement.verdict) {
                ATTENTION
            } else {
                0
            };
            say(&text, code)
        }
        None => {
            eprintln!("hbsidecar: no process {}", args.pid);
            NO_PROCESS
        }
    };
    text
}

fn say(text: &str, code: u8) -> u8 {
    use std::io::Write;
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => code,
        // Whoever read it has gone: `| head` is no failure of the diagnosis.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => code,
        Err(_) => exit::OWN_FAILURE,
    }
}

/// Watches for the time asked. None when there is no such process, or it ended meanwhile.
fn look(args: &DiagnoseArgs) -> Option<(Judgement, Sample)> {
    let watch = args.watch.unwrap_or(WATCH).max(LOOK_EVERY);
    let start = clock::now();
    let settings = Settings {
        patience: args.patience,
        glance: Some(watch.mul_f64(GLANCE_SHARE)),
        ..Settings::default()
    };
    let mut activity = Activity::new(settings, start);
    let mut evidence = Evidence::new();
    loop {
        let sample = evidence.sample(args.pid, &[], Depth::Waits, clock::now());
        if sample.root().is_none() && !exists(args.pid) {
            return None;
        }
        let now = sample.at;
        activity.handle(Input::Sample(Box::new(sample.clone())), now);
        if now.since(start) >= watch {
            return Some((activity.judgement().clone(), sample));
        }
        std::thread::sleep(pause(start + watch, now));
    }
}

fn pause(end: Moment, now: Moment) -> Duration {
    LOOK_EVERY.min(end.since(now)).max(Duration::from_millis(1))
}

/// A process that is hidden from us answers a signal with a refusal, one that is not there with nothing.
fn exists(pid: u32) -> bool {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| {
        !matches!(
            rustix::process::test_kill_process(pid),
            Err(rustix::io::Errno::SRCH)
        )
    })
}

fn report<'a>(pid: u32, judgement: &'a Judgement, sample: &Sample) -> Report<'a> {
    let line = |process| {
        let card = CardProcess::of(sample, process);
        let waiting_on = card.waiting_on.join("; ");
        Line {
            pid: card.pid,
            command: card.command,
            state: card.state,
            waiting_on,
        }
    };
    Report {
        pid,
        verdict: judgement.verdict,
        confidence: match judgement.confidence {
            Confidence::Proof => "proof",
            Confidence::Suspicion => "suspicion",
            Confidence::None => "none",
        },
        sentence: &judgement.sentence,
        evidence: &judgement.evidence,
        tree: sample.processes.iter().map(line).collect(),
    }
}

fn json(report: &Report<'_>) -> String {
    serde_json::to_string(report).unwrap_or_default()
}

fn plain(report: &Report<'_>, sample: &Sample) -> String {
    let word = serde_json::to_value(report.verdict).unwrap_or_default();
    let word = word.as_str().unwrap_or("unknown").to_owned();
    let mut lines = vec![format!(
        "{word} ({}): {}",
        report.confidence, report.sentence
    )];
    lines.extend(
        report
            .evidence
            .iter()
            .map(|e| format!("  {}: {}", e.signal, e.value)),
    );
    for (line, process) in report.tree.iter().zip(&sample.processes) {
        let depth = depth(sample, process.pid);
        let indent = "  ".repeat(depth);
        lines.push(format!(
            "{indent}{} {} [{}]",
            line.pid, line.command, line.state
        ));
        if !line.waiting_on.is_empty() {
            lines.push(format!("{indent}  waits for {}", line.waiting_on));
        }
    }
    for gap in &sample.gaps {
        let whose = if gap.pid == 0 {
            String::new()
        } else {
            format!(" of {}", gap.pid)
        };
        lines.push(format!(
            "  not read: {}{whose}: {}",
            gap.what,
            gap.why.words()
        ));
    }
    // A command line may hold anything; a terminal shall not obey it.
    lines
        .join("\n")
        .replace(|c: char| c.is_control() && c != '\n', "?")
}

fn depth(sample: &Sample, pid: u32) -> usize {
    let mut depth = 0;
    let mut at = sample.process(pid);
    while let Some(process) = at.filter(|p| p.pid != sample.root && depth < 32) {
        depth += 1;
        at = sample.process(process.parent);
    }
    depth
}
