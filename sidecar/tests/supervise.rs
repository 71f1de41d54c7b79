//! Supervision of real processes: what reaches the agent, how it is restarted, how a whole tree ends.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]

#[path = "../../tests/support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::alone::{line, loud, marked, sidecar, state};
use support::{Running, eventually, signal};

/// What is added to the grace before a tree must be gone.
const AFTER_GRACE: Duration = Duration::from_secs(2);
/// What other programs may take of the machine meanwhile: a storm of forks is one of them.
const LOAD: Duration = Duration::from_secs(45);

fn python(script: &str) -> [String; 4] {
    ["--", "python3", "-c", script].map(str::to_owned)
}

fn started(arguments: &[&str], script: &[String]) -> Running {
    Running::spawn(sidecar(arguments).args(script))
}

#[test]
fn every_signal_that_can_be_passed_on_reaches_the_agent_once_and_real_time_values_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let received = dir.path().join("received");
    let ready = dir.path().join("ready");
    // One thread that takes signals in order; SIGTERM ends it. Blocked signals of a kind queue only from 34 on.
    let script = format!(
        "import signal, sys
wanted = set(signal.valid_signals()) - {{signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}}
signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
open({ready:?}, 'w').write('ready\\n')
out = open({received:?}, 'w')
while True:
    info = signal.sigwaitinfo(wanted)
    out.write('%d %d\\n' % (info.si_signo, info.si_code))
    out.flush()
    if info.si_signo == signal.SIGTERM: break
"
    );
    let mut agent = started(&["--restart", "never"], &python(&script));
    line(&ready);
    let faults = [4, 5, 6, 7, 8, 11, 31];
    let mut sent = Vec::new();
    for number in (1..=64).filter(|n| ![9, 15, 17, 19, 32, 33].contains(n) && !faults.contains(n)) {
        if number == 18 {
            continue; // CONT is its own story
        }
        queue(agent.pid(), number);
        sent.push(number);
        eventually("it is received", || {
            let text = std::fs::read_to_string(&received).ok()?;
            (text.lines().count() == sent.len()).then_some(())
        });
    }
    agent.signal("TERM");
    agent.wait();
    let text = std::fs::read_to_string(&received).unwrap();
    let got: Vec<(i32, i32)> = text
        .lines()
        .map(|line| {
            let (number, code) = line.split_once(' ').unwrap();
            (number.parse().unwrap(), code.parse().unwrap())
        })
        .filter(|(number, _)| *number != 15 && *number != 18)
        .collect();
    let queued = -1; // SI_QUEUE
    assert_eq!(
        got,
        sent.iter()
            .map(|number| (*number, queued))
            .collect::<Vec<_>>()
    );
}

/// Sends a signal with the value 4711, as sigqueue does.
fn queue(pid: i32, number: i32) {
    let script = "import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
sys.exit(0 if libc.sigqueue(int(sys.argv[1]), int(sys.argv[2]), ctypes.c_void_p(4711)) == 0 else 1)";
    let mut sent = Command::new("python3")
        .args(["-c", script, &pid.to_string(), &number.to_string()])
        .spawn()
        .unwrap();
    assert!(sent.wait().unwrap().success());
}

#[test]
fn a_real_time_signal_brings_its_value() {
    let dir = tempfile::tempdir().unwrap();
    let (ready, received) = (dir.path().join("ready"), dir.path().join("received"));
    let program = dir.path().join("agent");
    let source = format!(
        "#include <signal.h>\n#include <stdio.h>\nint main(void) {{ sigset_t s; siginfo_t i; sigemptyset(&s); sigaddset(&s, 40);
sigprocmask(SIG_BLOCK, &s, 0); FILE *f = fopen({ready:?}, \"w\"); fputs(\"ready\\n\", f); fclose(f);
sigwaitinfo(&s, &i); f = fopen({received:?}, \"w\"); fprintf(f, \"%d\\n\", i.si_value.sival_int); fclose(f); return 0; }}"
    );
    compile(&source, &program);
    let mut agent = Running::spawn(sidecar(&["--"]).arg(&program));
    line(&ready);
    queue(agent.pid(), 40);
    assert_eq!(line(&received), "4711\n");
    assert!(agent.wait().success());
}

fn compile(source: &str, program: &Path) {
    let mut cc = Command::new("cc")
        .args(["-x", "c", "-", "-o"])
        .arg(program)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    cc.stdin
        .take()
        .unwrap()
        .write_all(source.as_bytes())
        .unwrap();
    assert!(cc.wait().unwrap().success());
}

/// What a program sees of its own process, as one text.
const LOOK: &str = "import os, resource, signal, sys
names = ['SIGPIPE', 'SIGCHLD', 'SIGHUP', 'SIGINT', 'SIGUSR1']
status = dict(l.split(':', 1) for l in open('/proc/self/status') if ':' in l)
print({
    'blocked': status['SigBlk'].strip(), 'ignored': status['SigIgn'].strip(), 'umask': status['Umask'].strip(),
    'limits': [resource.getrlimit(r) for r in (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE, resource.RLIMIT_STACK)],
    'fds': sorted(int(f) for f in os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd/' + f)),
    'cwd': os.getcwd(), 'kept': os.environ.get('KEPT'), 'nice': os.nice(0),
}, flush=True)
";

/// Runs a shell line in which `$W` is nothing or the sidecar in front of the program that looks.
fn look(line: &str, through: bool) -> String {
    let program = env!("CARGO_BIN_EXE_hbsidecar");
    let wrapper = if through {
        format!("{program} -q --redis-url redis://127.0.0.1:1 --")
    } else {
        String::new()
    };
    let output = Command::new("bash")
        .args(["-c", line])
        .env("W", wrapper)
        .env("LOOK", LOOK)
        .env("KEPT", "yes")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_agent_sees_the_same_of_itself_with_hbsidecar_and_without() {
    for line in [
        "$W python3 -S -c \"$LOOK\"",
        "umask 027; ulimit -n 77; ulimit -c 0; cd /; $W python3 -S -c \"$LOOK\"",
        "trap '' PIPE HUP; $W python3 -S -c \"$LOOK\"",
        "exec 7</dev/null 9>/dev/null; $W python3 -S -c \"$LOOK\"",
        "$W python3 -S -c \"$LOOK\" 5</dev/null",
        "nice -n 3 $W python3 -S -c \"$LOOK\"",
    ] {
        assert_eq!(look(line, true), look(line, false), "{line}");
    }
}

#[test]
fn a_blocked_signal_stays_blocked_and_an_ignored_child_signal_stays_ignored() {
    let start = "import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.execvp(sys.argv[1], sys.argv[1:])";
    let line = format!("python3 -S -c '{start}' $W python3 -S -c \"$LOOK\"")
        .replace("$W python3", "${W:-env} python3");
    assert_eq!(look(&line, true), look(&line, false));
}

#[test]
fn closed_standard_descriptors_stay_closed() {
    let line = "$W sh -c 'ls -l /proc/self/fd/0 2>/dev/null; echo \"$(ls /proc/$$/fd | tr \"\\n\" \" \")\"' <&-";
    assert_eq!(look(line, true), look(line, false));
}

#[test]
fn descriptors_of_a_socket_activated_agent_name_the_agent() {
    let line = "exec bash -c 'export LISTEN_FDS=1 LISTEN_PID=$$; exec $W sh -c \"test \\$LISTEN_PID = \\$\\$ && echo mine \\$LISTEN_FDS\"'";
    assert_eq!(look(line, true), "mine 1\n");
}

#[test]
fn a_script_without_an_interpreter_line_is_run_as_a_shell_would() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("agent");
    std::fs::write(&script, "echo \"$1\"\n").unwrap();
    assert!(
        Command::new("chmod")
            .arg("+x")
            .arg(&script)
            .status()
            .unwrap()
            .success()
    );
    let output = sidecar(&["--"]).arg(&script).arg("a b").output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "a b\n");
}

#[test]
fn an_agent_may_write_while_its_reader_stands_still_and_nothing_is_lost_or_changed() {
    const BYTES: usize = 10 << 20;
    let script = "import sys
block = bytes(range(256)) * 4096
for _ in range(10): sys.stdout.buffer.write(block)";
    let mut agent = Running::spawn(sidecar(&[]).args(python(script)).stdout(Stdio::piped()));
    let mut out = agent.0.stdout.take().unwrap();
    let pid = agent.pid();
    eventually("the agent waits for its reader", || {
        let child = children(pid).into_iter().next()?;
        std::fs::read_to_string(format!("/proc/{child}/wchan"))
            .ok()
            .filter(|wait| wait.contains("pipe"))
    });
    let mut all = Vec::new();
    out.read_to_end(&mut all).unwrap();
    assert!(agent.wait().success());
    assert_eq!(all.len(), BYTES);
    assert!(
        all.iter()
            .enumerate()
            .all(|(at, byte)| *byte == (at % 256) as u8)
    );
}

fn children(pid: i32) -> Vec<i32> {
    let text =
        std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect()
}

#[test]
fn an_agent_that_crashes_is_restarted_until_its_budget_is_used_up_and_its_code_is_ours() {
    let output = sidecar(&[
        "--backoff",
        "1ms",
        "--max-restarts",
        "3",
        "--",
        "sh",
        "-c",
        "echo up; exit 3",
    ])
    .output()
    .unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "up\n".repeat(4));
}

#[test]
fn fatal_codes_and_clean_ends_are_not_retried() {
    for code in [0, 78, 126, 127] {
        let exits = format!("echo up; exit {code}");
        let output = sidecar(&["--backoff", "1ms", "--", "sh", "-c", &exits])
            .output()
            .unwrap();
        assert_eq!(
            (output.status.code(), output.stdout.as_slice()),
            (Some(code), b"up\n".as_slice())
        );
    }
}

#[test]
fn a_temporary_failure_is_retried_for_as_long_as_it_lasts() {
    let dir = tempfile::tempdir().unwrap();
    let tries = "echo x >> tries; test $(wc -l < tries) -ge 8 || exit 75";
    let status = sidecar(&[
        "--backoff",
        "1ms",
        "--backoff-max",
        "2ms",
        "--",
        "sh",
        "-c",
        tries,
    ])
    .current_dir(dir.path())
    .status()
    .unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn an_agent_that_ignores_term_one_with_an_escaped_grandchild_and_one_in_a_fork_storm_are_gone_within_the_grace_and_two_seconds()
 {
    let grace = Duration::from_secs(1);
    for (name, script) in [
        (
            "ignores TERM",
            "trap '' TERM; echo up > ready; while :; do sleep 1; done",
        ),
        (
            "escaped",
            "(setsid sh -c 'trap \"\" TERM HUP; while :; do sleep 1; done' &) ; (setsid setsid sleep 1000 &); echo up > ready; wait; sleep 1000",
        ),
        (
            "storm",
            "trap '' TERM; f() { while :; do sleep 0.01 & sleep 0.02; done; }; for i in 1 2 3 4 5 6 7 8; do f & done; echo up > ready; wait",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mark = format!("HB_TEST={}", dir.path().display());
        let mut command = sidecar(&["--grace", "1s", "--", "bash", "-c", script]);
        let (key, value) = mark.split_once('=').unwrap();
        let mut agent = Running::spawn(command.env(key, value).current_dir(dir.path()));
        line(&dir.path().join("ready"));
        let asked_at = Instant::now();
        agent.signal("TERM");
        agent.wait();
        let took = asked_at.elapsed();
        assert_eq!(marked(&mark), [0; 0], "{name}: processes are left");
        assert!(took <= grace + AFTER_GRACE + LOAD, "{name}: took {took:?}");
    }
}

#[test]
fn a_stopped_child_gets_its_term() {
    let dir = tempfile::tempdir().unwrap();
    let script = "sh -c 'trap \"exit 0\" TERM; kill -STOP $$; sleep 1000' & echo $! > child; wait";
    let mut agent = Running::spawn(
        sidecar(&["--grace", "20s", "--", "bash", "-c", script]).current_dir(dir.path()),
    );
    let child: i32 = line(&dir.path().join("child")).trim().parse().unwrap();
    eventually("the child stands still", || {
        (state(child)? == 'T').then_some(())
    });
    agent.signal("TERM");
    agent.wait();
    assert_eq!(state(child), None);
}

#[test]
fn leftovers_of_an_agent_that_ended_by_itself_are_ended_too_and_kept_when_told() {
    for (keep, left) in [(false, 0), (true, 1)] {
        let dir = tempfile::tempdir().unwrap();
        let mark = format!("HB_TEST={}", dir.path().display());
        let (key, value) = mark.split_once('=').unwrap();
        let flags: &[&str] = if keep { &["--keep-orphans"] } else { &[] };
        let mut command = sidecar(flags);
        command
            .args(["--", "sh", "-c", "setsid sleep 1000 & exit 0"])
            .env(key, value);
        assert!(command.status().unwrap().success());
        // A process that becomes another program has no environment for a moment.
        let found = match keep {
            true => eventually("it is kept", || {
                Some(marked(&mark)).filter(|found| found.len() == left)
            }),
            false => marked(&mark),
        };
        assert_eq!(found.len(), left, "keep: {keep}");
        found.into_iter().for_each(|pid| signal(pid, "KILL"));
    }
}

#[test]
fn children_from_before_us_are_not_the_agents_and_live_on() {
    let line = "sleep 1000 >/dev/null 2>&1 & echo $!; exec $W sh -c 'exit 0'";
    let stranger: i32 = look(line, true).trim().parse().unwrap();
    assert!(state(stranger).is_some_and(|state| state != 'Z'));
    signal(stranger, "KILL");
}

#[test]
fn a_thousand_children_and_grandchildren_leave_no_zombie_no_descriptor_and_no_lost_code() {
    // Half are waited for by the agent and must have their exact code, half are orphans that come to us.
    let script = "import os, random, sys
random.seed(int(sys.argv[1]))
wrong = 0
for n in range(500):
    code = random.randrange(256)
    child = os.fork()
    if child == 0:
        if os.fork() == 0: os._exit(random.randrange(256))
        os._exit(code)
    wrong += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != code
print(wrong, flush=True)
sys.stdin.readline()
sys.exit(7)";
    let seed = std::process::id().to_string();
    println!("seed {seed}");
    let mut command = sidecar(&["--restart", "never"]);
    command
        .args(python(script))
        .arg(&seed)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut agent = Running::spawn(&mut command);
    let mut out = BufReader::new(agent.0.stdout.take().unwrap());
    let mut wrong = String::new();
    out.read_line(&mut wrong).unwrap();
    let open = || {
        std::fs::read_dir(format!("/proc/{}/fd", agent.pid()))
            .unwrap()
            .count()
    };
    eventually("all orphans are reaped", || {
        (children(agent.pid()).len() == 1).then_some(())
    });
    let descriptors = open();
    drop(agent.0.stdin.take());
    assert_eq!((wrong.trim(), agent.wait().code()), ("0", Some(7)));
    assert!(descriptors < 20, "{descriptors} are open");
}

#[test]
fn a_thousand_incarnations_leak_no_descriptor_and_every_exit_is_exact() {
    let dir = tempfile::tempdir().unwrap();
    // Each incarnation ends with 75, a temporary failure, until a thousand have been; then with 9.
    let script = "echo x >> n; test $(wc -c < n) -ge 2000 && exit 9; exit 75";
    let mut command = sidecar(&[
        "--backoff",
        "0s",
        "--max-restarts",
        "0",
        "--",
        "dash",
        "-c",
        script,
    ]);
    let mut agent = Running::spawn(command.current_dir(dir.path()));
    let fds = format!("/proc/{}/fd", agent.pid());
    let count = dir.path().join("n");
    let spawned = || std::fs::metadata(&count).map_or(0, |file| file.len() / 2);
    let after = |spawns: u64| {
        // A busy machine starts fewer in a second; only one that starts none at all is stuck.
        while spawned() < spawns {
            let before = spawned();
            eventually("another incarnation came", || {
                (spawned() > before).then_some(())
            });
        }
        std::fs::read_dir(&fds).map_or(0, Iterator::count)
    };
    let (early, late) = (after(10), after(900));
    assert_eq!(agent.wait().code(), Some(9));
    assert!(
        late <= early + 2,
        "{early} descriptors were open after 10 starts, {late} after 900"
    );
}

#[test]
fn an_attached_process_is_watched_and_its_exit_is_ours() {
    let mut stranger = Command::new("sh")
        .args(["-c", "read x; exit 9"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut watcher = Running::spawn(
        loud(&["--pid", &stranger.id().to_string()])
            .arg("--id")
            .arg("x")
            .stderr(log(dir.path())),
    );
    eventually("it is attached", || {
        std::fs::read_to_string(dir.path().join("log"))
            .ok()?
            .contains("attached")
            .then_some(())
    });
    drop(stranger.stdin.take());
    stranger.wait().unwrap();
    // Linux before 6.15 does not report it; then nothing is claimed.
    let code = watcher.wait().code();
    assert!(matches!(code, Some(9 | 125)), "{code:?}");
}

fn log(dir: &Path) -> Stdio {
    std::fs::File::create(dir.join("log")).unwrap().into()
}

#[test]
fn a_signal_for_the_watcher_of_an_attached_process_leaves_the_process_alone() {
    let mut stranger = Running::spawn(Command::new("sleep").arg("1000"));
    let dir = tempfile::tempdir().unwrap();
    let mut command = loud(&["--pid", &stranger.pid().to_string()]);
    let mut watcher = Running::spawn(command.args(["--id", "x"]).stderr(log(dir.path())));
    eventually("it is attached", || {
        std::fs::read_to_string(dir.path().join("log"))
            .ok()?
            .contains("attached")
            .then_some(())
    });
    watcher.signal("TERM");
    assert_eq!(watcher.wait().code(), Some(0));
    assert_eq!(stranger.0.try_wait().unwrap(), None);
}

/// Its parent becomes a program that never asks for it.
#[test]
fn how_an_attached_agent_ended_is_known_before_its_parent_reaps_it() {
    let dir = tempfile::tempdir().unwrap();
    for (number, code) in [("TERM", 143), ("KILL", 137)] {
        let pid = dir.path().join("pid");
        let script = format!(
            "sleep 1000 & echo $! > {0}.draft; mv {0}.draft {0}; exec sleep 1000",
            pid.display()
        );
        let _parent = Running::spawn(Command::new("sh").args(["-c", &script]));
        let agent = eventually("the agent runs", || std::fs::read_to_string(&pid).ok());
        std::fs::remove_file(&pid).unwrap();
        let mut command = loud(&["--pid", agent.trim(), "--id", "x"]);
        let mut watcher = Running::spawn(command.stderr(log(dir.path())));
        eventually("it is attached", || {
            let logged = std::fs::read_to_string(dir.path().join("log")).ok()?;
            logged
                .contains(&format!("attached to process {agent}"))
                .then_some(())
        });
        signal(agent.trim().parse::<u32>().unwrap(), number);
        assert_eq!(watcher.exit_code(), Some(code));
    }
}

#[test]
fn a_match_is_waited_for_and_its_re_creation_followed() {
    let dir = tempfile::tempdir().unwrap();
    let mark = format!("hb-follow-{}", std::process::id());
    let mut command = loud(&["--match", &mark, "--id", "x"]);
    let _watcher = Running::spawn(command.stderr(log(dir.path())));
    let attached = || {
        std::fs::read_to_string(dir.path().join("log"))
            .unwrap_or_default()
            .matches("attached to")
            .count()
    };
    for incarnation in 1..=2 {
        let mut agent = Running::spawn(Command::new("sh").args(["-c", "sleep 1000; true", &mark]));
        eventually("the agent is found", || {
            (attached() == incarnation).then_some(())
        });
        let sleeper = eventually("it sleeps", || children(agent.pid()).first().copied());
        agent.0.kill().unwrap();
        agent.wait();
        signal(sleeper, "KILL");
    }
}

#[test]
fn an_editor_of_its_file_is_not_taken_for_the_agent_that_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let mark = format!("hb-edited-{}", std::process::id());
    let agent = || Running::spawn(Command::new("sh").args(["-c", "sleep 1000; true", &mark]));
    let mut first = agent();
    let sleeper = eventually("it sleeps", || children(first.pid()).first().copied());
    let mut command = loud(&["--match", &mark, "--id", "x", "--interval", "200ms"]);
    let _watcher = Running::spawn(command.stderr(log(dir.path())));
    let logged = |words: String| {
        let log = || std::fs::read_to_string(dir.path().join("log")).unwrap_or_default();
        eventually(&words, || log().contains(&words).then_some(()));
    };
    logged(format!("attached to process {}\n", first.pid()));
    let settled = Instant::now() + Duration::from_secs(4);
    eventually("what it runs is noted", || {
        (Instant::now() > settled).then_some(())
    });
    let editor = Running::spawn(
        Command::new("python3")
            .args(["-c", "input()", &mark])
            .stdin(Stdio::piped()),
    );
    first.kill();
    signal(sleeper, "KILL");
    logged("runs another program than the agent did".to_owned());
    logged(format!("process {} ", editor.pid()));
    let second = agent();
    logged(format!("attached to process {}\n", second.pid()));
    for sleeper in children(second.pid()) {
        signal(sleeper, "KILL");
    }
}

#[test]
fn two_candidates_are_refused_with_their_names() {
    let mark = format!("hb-two-{}", std::process::id());
    let two = [(); 2].map(|()| {
        Running::spawn(
            Command::new("sh")
                .args(["-c", "read x; true", &mark])
                .stdin(Stdio::piped()),
        )
    });
    eventually("both run", || {
        let up = |agent: &Running| {
            std::fs::read_to_string(format!("/proc/{}/cmdline", agent.pid()))
                .unwrap()
                .contains(&mark)
        };
        two.iter().all(up).then_some(())
    });
    let output = sidecar(&["--match", &mark]).output().unwrap();
    let output_text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(
        two.iter()
            .all(|agent| output_text.contains(&agent.pid().to_string())),
        "{output_text}"
    );
}

#[test]
fn candidates_that_come_later_are_logged_once_and_the_one_that_stays_is_attached_to() {
    let dir = tempfile::tempdir().unwrap();
    let mark = format!("hb-later-{}", std::process::id());
    let agent = || {
        let mut agent = Command::new("sh");
        agent.args(["-c", "read x; true", &mark]);
        Running::spawn(agent.stdin(Stdio::piped()))
    };
    let mut first = agent();
    let mut command = loud(&["--match", &mark, "--id", "x"]);
    let _watcher = Running::spawn(command.stderr(log(dir.path())));
    let logged = || std::fs::read_to_string(dir.path().join("log")).unwrap_or_default();
    let attached_to = |agent: &Running| {
        let words = format!("attached to process {}\n", agent.pid());
        eventually(&words, || logged().contains(&words).then_some(()));
    };
    attached_to(&first);
    let (mut second, third) = (agent(), agent());
    first.kill();
    let refused = "2 processes match";
    eventually("both are named", || {
        let named = |agent: &Running| logged().contains(&format!("{} sh -c", agent.pid()));
        (logged().contains(refused) && named(&second) && named(&third)).then_some(())
    });
    second.kill();
    attached_to(&third);
    assert_eq!(logged().matches("; retrying").count(), 1);
}

#[test]
fn a_process_that_cannot_be_attached_to_is_refused_with_the_reason() {
    for (arguments, expected) in [
        (&["--pid", "999999999"][..], "no process"),
        (&["--pid", "2"], "kernel"),
        (&["--pid", "0"], "--pid"),
        (&["--pid", "-5"], "--pid"),
        (&["--match", "("], "--match"),
        (&["--pid", "1", "--", "true"], "cannot be used with"),
    ] {
        let output = sidecar(arguments).output().unwrap();
        let output_text = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && output_text.contains(expected),
            "{arguments:?}: {output_text}"
        );
        assert_eq!(output_text.lines().count(), 1, "{output_text}");
    }
}

#[test]
fn a_foreign_process_is_refused_with_its_owner() {
    let owner = Running::spawn(Command::new("sleep").arg("1000"));
    let mut command = sidecar(&["--pid", &owner.pid().to_string()]);
    // Tests run as root where possible; then another user runs it.
    let output = command.uid(65534).gid(65534).output();
    let Ok(output) = output else {
        return assert_ne!(
            Command::new("id").arg("-u").output().unwrap().stdout,
            b"0\n",
            "root can become another user"
        );
    };
    let output_text = String::from_utf8(output.stderr).unwrap();
    assert!(output_text.contains("belongs to user"), "{output_text}");
}

#[test]
fn a_transparent_agent_keeps_the_process_it_was_started_as() {
    let (read, write) = pipe();
    let script = "echo $$ $(ps -o pgid=,sid= -p $$); exit 5";
    let mut agent = Running::spawn(
        sidecar(&["--transparent", "--id", "x", "--", "sh", "-c", script]).stdout(write),
    );
    let pid = agent.pid();
    assert_eq!(agent.wait().code(), Some(5));
    // To the end: nothing of ours may hold the agent's output open.
    let mut output_text = String::new();
    std::fs::File::from(read)
        .read_to_string(&mut output_text)
        .unwrap();
    let numbers: Vec<i32> = output_text
        .split_whitespace()
        .map(|n| n.parse().unwrap())
        .collect();
    let ours = |what: &str| -> i32 {
        let me = std::process::id().to_string();
        let output = Command::new("ps")
            .args(["-o", what, "-p", &me])
            .output()
            .unwrap();
        String::from_utf8(output.stdout)
            .unwrap()
            .trim()
            .parse()
            .unwrap()
    };
    assert_eq!(numbers, [pid, ours("pgid="), ours("sid=")]);
}

fn pipe() -> (OwnedFd, OwnedFd) {
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    assert!(read.as_raw_fd() > 2);
    (read, write)
}

#[test]
fn a_transparent_command_that_is_not_there_is_127() {
    let output = sidecar(&["--transparent", "--", "no-such-agent"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(127));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("not found")
    );
}

#[test]
fn an_agent_does_not_notice_that_its_sidecar_is_killed_or_stands_still() {
    let dir = tempfile::tempdir().unwrap();
    let script = "echo $$ > pid; while :; do echo tick >> ticks; sleep 0.05; done";
    let mut sidecar = Running::spawn(sidecar(&["--", "sh", "-c", script]).current_dir(dir.path()));
    let pid: i32 = line(&dir.path().join("pid")).trim().parse().unwrap();
    let ticks = || std::fs::metadata(dir.path().join("ticks")).map_or(0, |meta| meta.len());
    let goes_on = |what: &str| {
        let before = ticks();
        eventually(what, || (ticks() > before + 20).then_some(()));
    };
    sidecar.signal("STOP");
    goes_on("the agent works beside a stopped sidecar");
    sidecar.0.kill().unwrap();
    sidecar.wait();
    goes_on("the agent works without a sidecar");
    signal(pid, "KILL");
}

#[test]
fn when_no_process_can_be_made_that_is_said_and_the_code_is_125() {
    let line = "ulimit -u 1; \"$0\" -q --redis-url redis://127.0.0.1:1 -- true";
    let mut limited = Command::new("bash");
    limited.args(["-c", line, env!("CARGO_BIN_EXE_hbsidecar")]);
    // The limit does not bind root: another user tries.
    if Command::new("id").arg("-u").output().unwrap().stdout == b"0\n" {
        limited.uid(65533).gid(65533);
    }
    cannot_start(&mut limited);
}

fn cannot_start(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let output_text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(125), "{output_text}");
    assert!(output_text.contains("ulimit -u"), "{output_text}");
}

#[test]
fn a_process_in_a_sleep_that_no_signal_ends_goes_with_its_child() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("agent");
    // A parent in vfork waits for its child in such a sleep; the child lives in a session of its own.
    let source = "#include <unistd.h>\n#include <fcntl.h>\n#include <signal.h>\nint main(void) { if (vfork() == 0) { setsid(); close(open(\"up\", O_CREAT | O_WRONLY, 0600)); sleep(1000); _exit(0); } return 0; }";
    compile(source, &program);
    let mut command = sidecar(&["--grace", "200ms", "--restart", "never", "--"]);
    let mut agent = Running::spawn(command.arg(&program).current_dir(dir.path()));
    eventually("it is in vfork", || {
        dir.path().join("up").exists().then_some(())
    });
    agent.signal("TERM");
    assert!(agent.wait().signal().is_some());
}

#[test]
fn a_process_that_survives_kill_is_named_and_waited_for() {
    // A frozen control group of version 1 holds even KILL back.
    let group = Path::new("/sys/fs/cgroup/freezer").join(format!("hb-test-{}", std::process::id()));
    std::fs::create_dir(&group)
        .expect("run the tests as root, with the freezer of control groups version 1 mounted");
    let dir = tempfile::tempdir().unwrap();
    let mut command = sidecar(&[
        "--grace",
        "200ms",
        "--restart",
        "never",
        "--",
        "sleep",
        "1000",
    ]);
    let mut agent = Running::spawn(command.stderr(log(dir.path())));
    // A process that is no sleep yet is one that hbsidecar still waits for.
    let frozen = eventually("the agent runs", || {
        let child = children(agent.pid()).first().copied()?;
        let name = std::fs::read_to_string(format!("/proc/{child}/comm")).ok()?;
        (name == "sleep\n").then_some(child)
    });
    std::fs::write(group.join("cgroup.procs"), frozen.to_string()).unwrap();
    std::fs::write(group.join("freezer.state"), "FROZEN").unwrap();
    agent.signal("TERM");
    let output_text = eventually("the survivor is named", || {
        let output_text = std::fs::read_to_string(dir.path().join("log")).ok()?;
        output_text.contains("survive KILL").then_some(output_text)
    });
    let waits = agent.0.try_wait().unwrap();
    std::fs::write(group.join("freezer.state"), "THAWED").unwrap();
    agent.wait();
    eventually("the group is empty", || std::fs::remove_dir(&group).ok());
    assert_eq!(waits, None, "it waited for what it could not kill");
    assert!(
        output_text.contains(&format!("{frozen} (sleep)")),
        "{output_text}"
    );
}

#[test]
fn a_kill_for_memory_is_told_apart_from_a_kill() {
    // Needs a memory group of its own: root and control groups of either version.
    let Some(group) = memory_group() else {
        panic!(
            "no memory control group can be made here: run the tests as root, with control groups mounted"
        );
    };
    let dir = tempfile::tempdir().unwrap();
    let script = "x = []\nwhile True: x.append(bytearray(1 << 20))";
    let join = format!("echo $$ > {}/cgroup.procs; exec \"$@\"", group.display());
    let mut command = Command::new("bash");
    command
        .args([
            "-c",
            &join,
            "bash",
            env!("CARGO_BIN_EXE_hbsidecar"),
            "--redis-url",
            "redis://127.0.0.1:1",
        ])
        .args(["--restart", "never", "--", "python3", "-c", script])
        .stdin(Stdio::null())
        .stderr(log(dir.path()));
    let status = Running::spawn(&mut command).wait();
    let output_text = std::fs::read_to_string(dir.path().join("log")).unwrap();
    eventually("the group is empty", || std::fs::remove_dir(&group).ok());
    assert_eq!(status.signal(), Some(9));
    assert!(output_text.contains("killed for memory"), "{output_text}");
}

fn memory_group() -> Option<std::path::PathBuf> {
    let name = format!("hb-test-{}", std::process::id());
    for (root, limit) in [
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        ("/sys/fs/cgroup", "memory.max"),
    ] {
        let group = Path::new(root).join(&name);
        if std::fs::create_dir(&group).is_ok() {
            if std::fs::write(group.join(limit), "67108864").is_ok() {
                return Some(group);
            }
            let _ = std::fs::remove_dir(&group);
        }
    }
    None
}
