//! `hbsidecar diagnose PID`: one verdict with evidence on any process. Needs no store and no privileges, changes nothing.

use crate::clock;
use crate::config::exit;
use crate::probe::Sampler;
use clap::Args;
use hbshell::log_writer::complain;
use heartbeat::base::moment::Moment;
use heartbeat::verdict::machine::VerdictMachine;
use heartbeat::verdict::sample::{RunState, Sample, SampleDepth};
use heartbeat::verdict::snapshot;
use heartbeat::verdict::{Input, Judgement, Patience, Settings};
use heartbeat::wire::activity::{Confidence, Evidence, Verdict};
use serde::Serialize;
use std::time::Duration;

/// How long a diagnosis samples by default: two samples show what moves.
const WATCH: Duration = Duration::from_secs(2);
/// Between two samples of a diagnosis.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(500);
/// Share of the time watched that a finding must last when it follows from the waits alone.
const PROOF_SHARE: f64 = 0.6;
/// Exit code: it needs attention.
const ATTENTION: u8 = 3;
/// Exit code: no such process.
const NO_PROCESS: u8 = 4;

/// Which process to diagnose, and for how long.
#[derive(Args, Debug, Clone)]
pub(crate) struct DiagnoseArgs {
    /// The process; its children belong to it
    pid: u32,
    /// How long to sample before the verdict: 500ms, 10s, 5m
    #[arg(long, value_parser = humantime::parse_duration, value_name = "DURATION")]
    watch: Option<Duration>,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
    /// Multiplies every waiting time: a number from 0.001 to 1000
    #[arg(
        long,
        env = "HB_PATIENCE",
        default_value = "1.0",
        value_name = "FACTOR",
        allow_negative_numbers = true
    )]
    patience: Patience,
}

#[derive(Serialize)]
struct Diagnosis<'a> {
    pid: u32,
    verdict: Verdict,
    confidence: Confidence,
    cause: &'static str,
    sentence: &'a str,
    evidence: &'a [Evidence],
    tree: Vec<DiagnosedProcess>,
}

#[derive(Serialize)]
struct DiagnosedProcess {
    pid: u32,
    command: String,
    state: String,
    waiting_on: String,
}

/// Samples and prints the diagnosis. Returns the exit code: 0 fine, 3 needs attention, 4 no such process.
pub(crate) fn run(args: &DiagnoseArgs) -> u8 {
    let Some((judgement, sample)) = sample_for(args) else {
        complain(
            "hbsidecar",
            &format!("no process {}, or it has ended", args.pid),
        );
        return NO_PROCESS;
    };
    let report = report(args.pid, &judgement, &sample);
    let text = if args.json {
        json(&report)
    } else {
        plain(&report, &sample)
    };
    let code = if judgement.verdict.is_flag() {
        ATTENTION
    } else {
        0
    };
    print(&text, code)
}

fn print(text: &str, code: u8) -> u8 {
    use std::io::Write;
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => code,
        // The reader has gone, as with `| head`: no failure of the diagnosis.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => code,
        Err(_) => exit::OWN_FAILURE,
    }
}

/// Samples for the time asked. None when there is no such process, or it ends meanwhile.
fn sample_for(args: &DiagnoseArgs) -> Option<(Judgement, Sample)> {
    let watch = args.watch.unwrap_or(WATCH).max(SAMPLE_INTERVAL);
    let start = clock::now();
    let settings = Settings {
        patience: args.patience,
        one_off: Some(watch.mul_f64(PROOF_SHARE)),
        ..Settings::default()
    };
    let mut machine = VerdictMachine::new(settings, start);
    let mut sampler = Sampler::new();
    loop {
        let sample = sampler.sample(args.pid, &[], SampleDepth::Waits, clock::now());
        let has_ended = sample
            .root()
            .is_some_and(|root| root.state == RunState::Zombie);
        if has_ended || sample.root().is_none() && !exists(args.pid) {
            return None;
        }
        let now = sample.at;
        machine.handle(Input::Sample(Box::new(sample.clone())), now);
        if now.since(start) >= watch {
            return Some((machine.judgement().clone(), sample));
        }
        std::thread::sleep(pause(start + watch, now));
    }
}

fn pause(end: Moment, now: Moment) -> Duration {
    SAMPLE_INTERVAL
        .min(end.since(now))
        .max(Duration::from_millis(1))
}

/// A hidden process refuses the test signal; for a missing one the kernel reports that it does not exist.
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

fn report<'a>(pid: u32, judgement: &'a Judgement, sample: &Sample) -> Diagnosis<'a> {
    let line = |process| {
        let process = snapshot::process(sample, process);
        let waiting_on = process.waiting_on.join("; ");
        DiagnosedProcess {
            pid: process.pid,
            command: process.command,
            state: process.state,
            waiting_on,
        }
    };
    Diagnosis {
        pid,
        verdict: judgement.verdict,
        confidence: judgement.confidence,
        cause: judgement.cause.as_str(),
        sentence: &judgement.sentence,
        evidence: &judgement.evidence,
        tree: sample.processes.iter().map(line).collect(),
    }
}

fn json(report: &Diagnosis<'_>) -> String {
    serde_json::to_string(report).unwrap_or_default()
}

fn plain(report: &Diagnosis<'_>, sample: &Sample) -> String {
    let word = serde_json::to_value(report.verdict).unwrap_or_default();
    let word = word.as_str().unwrap_or("unknown").to_owned();
    let mut lines = vec![format!(
        "{word} ({}, {}): {}",
        report.confidence.as_str(),
        report.cause,
        report.sentence
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
    let gaps = sample.gaps.iter();
    lines.extend(gaps.map(|gap| format!("  not read: {}", gap.describe())));
    // A command line may hold control sequences, which must not reach the terminal.
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

#[cfg(test)]
mod tests {
    use super::*;
    use heartbeat::verdict::RuleId;
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command, Stdio};
    use std::time::Instant;

    /// A program with its whole process group; all of it ends with the test.
    struct Program(Child);

    impl Program {
        fn start(command: &[&str]) -> Self {
            let mut program = Command::new(command[0]);
            program
                .args(&command[1..])
                .stdin(Stdio::null())
                .stdout(Stdio::null());
            Self(
                program
                    .stderr(Stdio::null())
                    .process_group(0)
                    .spawn()
                    .unwrap(),
            )
        }

        fn python(code: &str) -> Self {
            Self::start(&["python3", "-c", code])
        }
    }

    impl Drop for Program {
        fn drop(&mut self) {
            let group = rustix::process::Pid::from_child(&self.0);
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            let _ = self.0.wait();
        }
    }

    fn args(program: &Program, watch: u64) -> DiagnoseArgs {
        DiagnoseArgs {
            pid: program.0.id(),
            watch: Some(Duration::from_millis(watch)),
            json: false,
            patience: Patience::ONE,
        }
    }

    /// Diagnoses until the verdict is there: start-up takes what it takes.
    fn becomes(program: &Program, verdict: Verdict, watch: u64) -> (Judgement, Sample) {
        let start = Instant::now();
        let args = args(program, watch);
        loop {
            let (judgement, sample) = sample_for(&args).unwrap();
            if judgement.verdict == verdict {
                return (judgement, sample);
            }
            assert!(
                start.elapsed() < Duration::from_secs(90),
                "{judgement:#?} {sample:#?}"
            );
        }
    }

    #[test]
    fn a_pipe_cycle_would_be_proof_and_is_proof_once_it_has_lasted() {
        let code = "import subprocess,sys\np=subprocess.Popen([sys.executable,'-c','print(\"x\"*1000000)'],stdout=subprocess.PIPE)\np.wait()";
        let program = Program::python(code);
        let (found, sample) = becomes(&program, Verdict::Stalled, 1500);
        assert_eq!(
            (found.cause, found.confidence),
            (RuleId::Doomed, Confidence::Suspicion)
        );
        assert!(
            found
                .sentence
                .ends_with("would be proof if it holds: use --watch")
        );
        assert!(sample.processes.len() >= 2);
        let args = DiagnoseArgs {
            patience: Patience::new(0.1).unwrap(),
            ..args(&program, 2500)
        };
        let (found, _) = sample_for(&args).unwrap();
        assert_eq!(
            (found.cause, found.confidence),
            (RuleId::Doomed, Confidence::Proof)
        );
    }

    #[test]
    fn a_fork_under_a_lock_is_a_suspicion() {
        let code = "import os,threading,time\nl=threading.Lock()\ndef hold():\n  with l: time.sleep(600)\nthreading.Thread(target=hold,daemon=True).start()\nwhile not l.locked(): time.sleep(.01)\npid=os.fork()\nif pid==0:\n  l.acquire()\nos.waitpid(pid,0)";
        let (found, _) = becomes(&Program::python(code), Verdict::Stalled, 1500);
        assert_eq!(found.cause, RuleId::ForkedLock);
    }

    #[test]
    fn two_threads_that_wait_for_each_others_mutex_would_be_proof() {
        let code = "import ctypes,threading\nc=ctypes.CDLL(None)\na=ctypes.create_string_buffer(64)\nb=ctypes.create_string_buffer(64)\nboth=threading.Barrier(2)\ndef f(x,y):\n  c.pthread_mutex_lock(x)\n  both.wait()\n  c.pthread_mutex_lock(y)\nthreading.Thread(target=f,args=(a,b)).start()\nthreading.Thread(target=f,args=(b,a)).start()";
        let (found, _) = becomes(&Program::python(code), Verdict::Stalled, 1500);
        assert_eq!(found.cause, RuleId::Doomed);
    }

    #[test]
    fn a_stopped_process_is_stalled_and_a_sleeping_one_shows_its_deadline() {
        let program = Program::start(&["sleep", "600"]);
        let (found, _) = becomes(&program, Verdict::Sleeping, 600);
        assert!(found.evidence[0].value.contains("m"), "{found:?}");
        let pid = rustix::process::Pid::from_child(&program.0);
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        becomes(&program, Verdict::Stalled, 1500);
    }

    #[test]
    fn an_idle_service_and_an_empty_queue_are_idle() {
        let node = Program::start(&["node", "-e", "require('http').createServer().listen(0)"]);
        becomes(&node, Verdict::Idle, 600);
        becomes(
            &Program::python("import queue\nqueue.Queue().get()"),
            Verdict::Idle,
            600,
        );
    }

    #[test]
    fn an_unanswered_request_is_a_wait_for_a_model() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || listener.accept().map(|(stream, _)| stream));
        let code = format!(
            "import socket\ns=socket.create_connection(('127.0.0.1',{port}))\ns.sendall(b'GET / HTTP/1.1\\r\\n')\ns.recv(9)"
        );
        let program = Program::python(&code);
        let (found, _) = becomes(&program, Verdict::WaitingModel, 600);
        assert!(
            found.evidence[0].value.contains("keep-alive off"),
            "{found:?}"
        );
        let _held: TcpStream = server.join().unwrap().unwrap();
    }

    #[test]
    fn a_program_that_computes_is_working() {
        becomes(
            &Program::python("while 1: sum(range(10000))"),
            Verdict::Working,
            1000,
        );
    }

    #[test]
    fn no_process_is_exit_code_4_and_a_diagnosis_is_one_json_object() {
        let gone = DiagnoseArgs {
            pid: u32::MAX >> 1,
            watch: None,
            json: true,
            patience: Patience::ONE,
        };
        assert_eq!(run(&gone), NO_PROCESS);
        let program = Program::start(&["sleep", "600"]);
        let (judgement, sample) = becomes(&program, Verdict::Sleeping, 600);
        let text = json(&report(program.0.id(), &judgement, &sample));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&value["verdict"], &value["confidence"], &value["cause"]),
            (&"sleeping".into(), &"none".into(), &"timer".into())
        );
        assert_eq!(value["tree"][0]["command"], "sleep 600");
        assert!(
            value["tree"][0]["waiting_on"]
                .as_str()
                .unwrap()
                .starts_with("the end of its sleep"),
            "{text}"
        );
    }
}
