//! The edges of supervision: what a kernel, a container, a service manager, a cleaner of /tmp or an agent's own variables do
//! to a sidecar. Real processes, no store.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]

#[path = "../../tests/support/mod.rs"]
mod support;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use support::alone::{line, loud, sidecar};
use support::{Running, clean, copy_program, eventually, program, signal, text_of};

fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let output = sidecar(arguments).output().unwrap();
    (output.status.code(), text(&output.stdout))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `$HB` is hbsidecar in the agent's script.
fn with_hb(mut command: Command) -> Output {
    command.env("HB", program("hbsidecar")).output().unwrap()
}

fn count(path: &Path) -> usize {
    std::fs::read_to_string(path)
        .unwrap_or_default()
        .lines()
        .count()
}

#[test]
fn a_service_manager_learns_that_the_agent_is_ready_lives_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("systemd");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(support::SOON)).unwrap();
    let mut agent = Running::spawn(
        sidecar(&["--id", "a1", "--", "sleep", "1000"])
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "200000"),
    );
    let heard = |wanted: &str| {
        let mut room = [0; 512];
        loop {
            let length = manager.recv(&mut room).unwrap();
            if text(&room[..length]).starts_with(wanted) {
                return;
            }
        }
    };
    heard("READY=1");
    heard("STATUS=the agent a1 runs as process ");
    for _ in 0..3 {
        heard("WATCHDOG=1");
    }
    agent.signal("TERM");
    heard("STOPPING=1");
    agent.wait();
}

#[test]
fn sockets_that_a_cleaner_removed_are_there_again() {
    let dir = tempfile::tempdir().unwrap();
    let script =
        "while :; do \"$HB\" notify step=$((n+=1)) 2>/dev/null; echo $? >> said; sleep 0.1; done";
    let mut command = sidecar(&[
        "--id",
        "a1",
        "--interval",
        "200ms",
        "--",
        "bash",
        "-c",
        script,
    ]);
    command
        .current_dir(dir.path())
        .env("XDG_RUNTIME_DIR", dir.path());
    let _agent = Running::spawn(command.env("HB", program("hbsidecar")));
    let taken = || {
        let said = std::fs::read_to_string(dir.path().join("said")).unwrap_or_default();
        said.lines().filter(|code| *code == "0").count()
    };
    eventually("a line is taken", || (taken() > 0).then_some(()));
    std::fs::remove_dir_all(dir.path().join("hb")).unwrap();
    let before = taken();
    eventually("lines are taken again", || {
        (taken() > before + 5).then_some(())
    });
    assert!(dir.path().join("hb/a1.sock").exists());
}

#[test]
fn a_record_that_a_cleaner_removed_is_there_again_for_the_next_sidecar() {
    let run = tempfile::tempdir().unwrap();
    let place = run.path().join("hb");
    let start = || {
        let mut command = sidecar(&["--id", "a1", "--interval", "200ms", "--", "sleep", "1000"]);
        Running::spawn(command.env("XDG_RUNTIME_DIR", run.path()))
    };
    let mut first = start();
    let record = place.join("a1.run");
    let written = |what: &str| {
        eventually(what, || {
            let text = std::fs::read_to_string(&record).ok()?;
            let agent = text.lines().nth(2)?.split(' ').next()?.parse::<i32>();
            agent.ok()
        })
    };
    let agent = written("it is written");
    std::fs::remove_dir_all(&place).unwrap();
    assert_eq!(written("it is there again"), agent);
    first.kill();
    let mut second = start();
    eventually("the second sidecar has the agent", || {
        let text = std::fs::read_to_string(&record).ok()?;
        let sidecar = text.split(' ').nth(2)?.parse::<i32>().ok()?;
        (sidecar == second.pid()).then_some(())
    });
    assert_eq!(written("it is the record of the second one"), agent);
    second.signal("TERM");
    second.wait();
}

#[test]
fn a_status_file_is_found_again_when_its_directory_was_exchanged() {
    let dir = tempfile::tempdir().unwrap();
    for (name, value) in [("one", 1), ("two", 2)] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
        let line = format!("task=t{value}\n");
        std::fs::write(dir.path().join(name).join("status"), line).unwrap();
    }
    let link = dir.path().join("current");
    std::os::unix::fs::symlink("one", &link).unwrap();
    let log = dir.path().join("log");
    let mut command = loud(&["--id", "a1", "--interval", "200ms", "--restart", "never"]);
    command
        .args(["--status-file", &link.join("status").to_string_lossy()])
        .args(["--", "sh", "-c", "read x; exit 0"])
        .stdin(Stdio::piped())
        .stderr(std::fs::File::create(&log).unwrap());
    let mut agent = Running::spawn(&mut command);
    eventually("the agent runs", || {
        let text = std::fs::read_to_string(&log).ok()?;
        text.contains("accepting status lines").then_some(())
    });
    // As a mounted configuration map is exchanged.
    std::os::unix::fs::symlink("two", dir.path().join("next")).unwrap();
    std::fs::rename(dir.path().join("next"), &link).unwrap();
    let opened = dir.path().join("two").join("status");
    eventually("the new file is open", || {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", agent.pid())).ok()?;
        let mut targets = descriptors
            .flatten()
            .filter_map(|entry| std::fs::read_link(entry.path()).ok());
        targets.any(|target| target == opened).then_some(())
    });
    drop(agent.0.stdin.take());
    assert_eq!(agent.exit_code(), Some(0));
}

#[test]
fn an_agent_that_changed_its_user_reaches_the_socket_of_a_sidecar_of_roots() {
    if !nix::unistd::geteuid().is_root() {
        return assert_ne!(
            text(&Command::new("id").arg("-u").output().unwrap().stdout),
            "0\n"
        );
    }
    let dir = tempfile::tempdir().unwrap();
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(dir.path(), open).unwrap();
    let script = "exec setpriv --reuid 64321 --regid 64321 --clear-groups sh -c \
                  'until \"$HB\" notify progress=1 2>/dev/null; do sleep 0.1; done; echo spoke'";
    let mut command = sidecar(&["--restart", "never", "--", "sh", "-c", script]);
    command.env("XDG_RUNTIME_DIR", dir.path());
    assert_eq!(text(&with_hb(command).stdout), "spoke\n");
}

#[test]
fn an_agent_whose_reader_has_seen_enough_is_not_restarted() {
    let dir = tempfile::tempdir().unwrap();
    let script =
        "\"$HB\" -q --redis-url redis://127.0.0.1:1 -- sh -c 'echo >> starts; exec yes' | head -1";
    let mut shell = clean(Path::new("sh"));
    shell.args(["-c", script]).current_dir(dir.path());
    assert_eq!(text(&with_hb(shell).stdout), "y\n");
    assert_eq!(count(&dir.path().join("starts")), 1);
}

#[test]
fn an_agent_that_goes_into_the_background_is_named_before_its_end() {
    let leaves = "setsid sleep 60 & until [ $(ps -o sid= -p $!) = $! ]; do sleep 0.02; done";
    let mut command = loud(&["--", "sh", "-c", leaves]);
    let errors = text(&command.output().unwrap().stderr);
    assert!(
        errors.contains("left sleep (") && errors.contains("--keep-orphans"),
        "{errors}"
    );
}

#[test]
fn an_agent_that_fails_as_its_reader_goes_is_not_restarted() {
    let dir = tempfile::tempdir().unwrap();
    let prints =
        "import itertools\nopen('starts','a').write('x\\n')\nfor n in itertools.count(): print(n)";
    let script = "\"$HB\" --redis-url redis://127.0.0.1:1 -- python3 -c \"$PRINTS\" | head -1";
    let mut shell = clean(Path::new("sh"));
    shell
        .args(["-c", script])
        .env("PRINTS", prints)
        .current_dir(dir.path());
    let output = with_hb(shell);
    assert_eq!(text(&output.stdout), "0\n");
    assert_eq!(count(&dir.path().join("starts")), 1);
    assert!(text(&output.stderr).contains("nothing reads the agent's output"));
}

#[test]
fn an_agent_that_reloads_at_hup_and_crashes_later_is_restarted() {
    let dir = tempfile::tempdir().unwrap();
    let script = "echo >> starts; trap 'echo >> reloads' HUP; echo > up; \
                  until [ -e reloads ]; do sleep 0.05; done; [ $(wc -l < starts) = 1 ] && exit 3; exit 0";
    // A shell cannot trap what was ignored when it started, as under nohup.
    let flags = [
        "--backoff",
        "10ms",
        "--",
        "env",
        "--default-signal=HUP",
        "sh",
        "-c",
        script,
    ];
    let mut agent = Running::spawn(sidecar(&flags).current_dir(dir.path()));
    line(&dir.path().join("up"));
    agent.signal("HUP");
    line(&dir.path().join("reloads"));
    assert_eq!(agent.exit_code(), Some(0));
    assert_eq!(count(&dir.path().join("starts")), 2);
}

#[test]
fn a_program_that_is_still_being_written_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent");
    std::fs::copy("/bin/true", &path).unwrap();
    // It waits for 200 ms, and a busy machine may keep the file open for longer.
    eventually("the program runs once it is written", || {
        let writer = std::fs::File::options().append(true).open(&path).unwrap();
        let mut start = Running::spawn(&mut sidecar(&["--", path.to_str().unwrap()]));
        let children = format!("/proc/{0}/task/{0}/children", start.pid());
        eventually("a process is there that cannot become the program", || {
            let ended = start.0.try_wait().unwrap().is_some();
            (ended || !text_of(children.as_ref()).is_empty()).then_some(())
        });
        drop(writer);
        (start.exit_code() == Some(0)).then_some(())
    });
}

/// Loads a filter of system calls that refuses `pidfd_open`, then runs the rest.
const WITHOUT_PIDFD: &str = "import ctypes, os, struct, sys
nr = {'x86_64': 434, 'aarch64': 434}[os.uname().machine]
code = [(0x20, 0, 0, 0), (0x15, 0, 1, nr), (6, 0, 0, 0x50000 | int(sys.argv[1])), (6, 0, 0, 0x7fff0000)]
code = b''.join(struct.pack('HBBI', *i) for i in code)
room = ctypes.create_string_buffer(code)
class Program(ctypes.Structure): _fields_ = [('length', ctypes.c_ushort), ('filter', ctypes.c_void_p)]
libc = ctypes.CDLL(None)
libc.prctl(38, 1, 0, 0, 0)
assert libc.prctl(22, 2, ctypes.byref(Program(4, ctypes.addressof(room))), 0, 0) == 0
os.execvp(sys.argv[2], sys.argv[2:])
";

#[test]
fn an_agent_is_watched_restarted_and_stopped_without_a_descriptor_of_its_process() {
    for errno in ["1", "38"] {
        let dir = tempfile::tempdir().unwrap();
        let mut python = clean(Path::new("python3"));
        python
            .args(["-c", WITHOUT_PIDFD, errno])
            .arg(program("hbsidecar"));
        python.args([
            "-q",
            "--redis-url",
            "redis://127.0.0.1:1",
            "--backoff",
            "10ms",
            "--",
        ]);
        let script = "echo $$ >> starts; [ $(wc -l < starts) = 1 ] && exit 3; trap 'exit 5' TERM; echo up > up; while :; do sleep 0.05; done";
        python.args(["sh", "-c", script]).current_dir(dir.path());
        let mut agent = Running::start(&mut python);
        line(&dir.path().join("up"));
        assert_eq!(count(&dir.path().join("starts")), 2, "it was restarted");
        agent.signal("TERM");
        assert_eq!(agent.exit_code(), Some(5), "errno {errno}");
    }
}

#[test]
fn signals_of_faults_and_those_of_the_c_library_do_not_end_the_sidecar() {
    let script = "import os, signal
faults = [4, 5, 6, 7, 8, 11, 31]
for fault in faults: signal.signal(fault, lambda number, _: os.write(1, b'%d\\n' % number))
os.write(1, b'ready\\n')
while True: signal.pause()";
    let dir = tempfile::tempdir().unwrap();
    let output = std::fs::File::create(dir.path().join("output")).unwrap();
    let agent = Running::start(
        sidecar(&["--restart", "never", "--", "python3", "-c", script]).stdout(output),
    );
    let output = || std::fs::read_to_string(dir.path().join("output")).unwrap();
    eventually("it is ready", || output().contains("ready").then_some(()));
    for fault in ["4", "5", "6", "7", "8", "11", "31"] {
        signal(agent.pid(), fault);
        eventually("the agent has it", || {
            output().lines().any(|line| line == fault).then_some(())
        });
    }
    // By number: kill(1) has no names for them.
    let send = "import os, sys; import ctypes; ctypes.CDLL(None).syscall(62, int(sys.argv[1]), 32)";
    let mut python = Command::new("python3");
    assert!(
        python
            .args(["-c", send, &agent.pid().to_string()])
            .status()
            .unwrap()
            .success()
    );
    // One that comes later is passed on: the sidecar lives.
    signal(agent.pid(), "4");
    eventually("the agent has the first one again", || {
        let again = output().lines().filter(|line| *line == "4").count();
        (again == 2).then_some(())
    });
}

#[test]
fn the_agents_oom_score_is_the_one_it_would_have() {
    let show = "cat /proc/self/oom_score_adj";
    let alone = Command::new("sh").args(["-c", show]).output().unwrap();
    assert_eq!(run(&["--", "sh", "-c", show]).1, text(&alone.stdout));
}

#[test]
fn the_agents_own_variables_are_no_reason_not_to_start_it() {
    for (name, value) in [
        ("REDIS_URL", "memcached://default:secret@cache.example:6380"),
        ("REDIS_URL", "cache.example:6379"),
        ("AGENT_ID", "no id at all"),
    ] {
        let mut command = clean(&program("hbsidecar"));
        command.args(["--", "echo", "ran"]).env(name, value);
        let output = command.output().unwrap();
        let error = text(&output.stderr);
        assert_eq!(text(&output.stdout), "ran\n", "{error}");
        assert!(error.contains(name) && !error.contains("secret"), "{error}");
    }
}

#[test]
fn a_wrong_value_of_a_variable_is_refused_with_its_name_and_an_empty_one_is_unset() {
    for (name, value) in [
        ("HB_INTERVAL", "soon"),
        ("HB_RESTART", "maybe"),
        ("HB_AGENT_ID", "a b"),
        ("HB_REDIS_URL", "http://x"),
    ] {
        let mut command = clean(&program("hbsidecar"));
        let output = command
            .args(["--", "true"])
            .env(name, value)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(
            text(&output.stderr).contains(name),
            "{}",
            text(&output.stderr)
        );
        let empty = sidecar(&["--", "true"]).env(name, "").status().unwrap();
        assert!(empty.success(), "{name}");
    }
}

#[test]
fn a_sidecar_inside_an_agent_does_not_take_the_settings_of_the_one_outside() {
    let dir = tempfile::tempdir().unwrap();
    // Both ways: as the agent's own process would start it, and under another id.
    let script = "\"$HB\" -q --redis-url redis://127.0.0.1:1 -- sh -c 'echo >> inner; exit 0' && \
                  HB_AGENT_ID=sub \"$HB\" -q --redis-url redis://127.0.0.1:1 -- sh -c 'echo >> inner; exit 0'";
    let mut outer = sidecar(&[
        "--id",
        "outer",
        "--restart",
        "never",
        "--",
        "sh",
        "-c",
        script,
    ]);
    outer
        .env("HB_RESTART", "always")
        .env("HB_BACKOFF", "10ms")
        .current_dir(dir.path());
    let mut outer = Running::spawn(outer.env("HB", program("hbsidecar")));
    assert_eq!(outer.exit_code(), Some(0));
    assert_eq!(count(&dir.path().join("inner")), 2);
}

#[test]
fn a_command_without_dashes_is_answered_with_what_to_write() {
    let output = sidecar(&["python3", "agent.py"]).output().unwrap();
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(error.contains("hbsidecar -- python3"), "{error}");
}

#[test]
fn a_restart_is_logged_with_its_cause_and_its_number() {
    let mut command = clean(&program("hbsidecar"));
    command.args([
        "--redis-url",
        "redis://127.0.0.1:1",
        "--backoff",
        "10ms",
        "--max-restarts",
        "1",
    ]);
    let output = command
        .args(["--", "sh", "-c", "exit 37"])
        .output()
        .unwrap();
    let error = text(&output.stderr);
    assert!(
        error.contains("exit code 37") && error.contains("attempt 1 of 1"),
        "{error}"
    );
}

#[test]
fn a_process_deep_below_the_agent_belongs_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("deep.sh");
    std::fs::write(
        &deep,
        "if [ $1 -gt 0 ]; then sh \"$0\" $(($1 - 1)); else \"$HB\" notify task=deep; echo $?; fi; :\n",
    )
    .unwrap();
    let command = sidecar(&[
        "--restart",
        "never",
        "--",
        "sh",
        deep.to_str().unwrap(),
        "90",
    ]);
    assert_eq!(text(&with_hb(command).stdout), "0\n");
}

/// In a pid namespace of its own, with or without its /proc.
fn in_a_container(own_proc: bool, script: &str) -> Output {
    with_hb(container(own_proc, script))
}

fn container(own_proc: bool, script: &str) -> Command {
    let mut unshare = clean(Path::new("unshare"));
    if !nix::unistd::geteuid().is_root() {
        unshare.arg("-r");
    }
    unshare.args(["-p", "-f", "--kill-child"]);
    if own_proc {
        unshare.arg("--mount-proc");
    }
    unshare.args(["sh", "-c", script]).stdin(Stdio::null());
    unshare
}

#[test]
fn a_session_whose_leader_is_outside_the_container_is_a_session() {
    let leaves = "setsid sleep 60 & until [ $(ps -o sid= -p $!) = $! ]; do sleep 0.02; done";
    let script = format!(
        "test $(ps -o sid= -p $$) = 0 || exit 9; \
         \"$HB\" --redis-url redis://127.0.0.1:1 -- sh -c '{leaves}'"
    );
    let output = in_a_container(true, &script);
    let errors = text(&output.stderr);
    assert!(
        output.status.success() && errors.contains("left sleep ("),
        "{output:?}"
    );
}

#[test]
fn process_2_of_a_container_is_no_thread_of_the_kernel() {
    let script = "sleep 0.5 & \"$HB\" --redis-url redis://127.0.0.1:1 --pid $!; echo code $?";
    let output = in_a_container(true, script);
    let error = text(&output.stderr);
    assert!(!error.contains("kernel thread"), "{error}");
    assert!(text(&output.stdout).starts_with("code "), "{error}");
}

#[test]
fn process_1_of_a_container_can_be_the_agent_and_its_watcher_is_no_part_of_it() {
    // The shell becomes the agent: process 1 of its namespace, and the parent of its watcher.
    let script = "\"$HB\" -vv --redis-url redis://127.0.0.1:1 --pid 1 2>log & exec sh -c 'until grep -q attached log; do sleep 0.1; done; echo watched'";
    let dir = tempfile::tempdir().unwrap();
    let script = format!("cd {}; {script}", dir.path().display());
    let output = in_a_container(true, &script);
    assert_eq!(
        text(&output.stdout),
        "watched\n",
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn an_agent_that_started_its_own_sidecar_is_hung_although_the_sidecar_works() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let code = "import os, subprocess, threading, time
hb = os.environ['HB']
watch = '-v --redis-url redis://127.0.0.1:1 --socket s.sock --patience 0.05 --on-hung alert --pid'
subprocess.Popen([hb, *watch.split(), str(os.getpid())], stderr=open('log', 'w'))
while subprocess.call([hb, 'notify', '--socket', 's.sock', 'task=index']): time.sleep(0.1)
lock = threading.Lock()
lock.acquire()
lock.acquire()";
    let mut agent = clean(Path::new("python3"));
    agent.args(["-c", code]).env("HB", program("hbsidecar"));
    agent.stderr(Stdio::null());
    let _agent = Running::start(agent.current_dir(dir.path()));
    eventually("it is hung", || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.contains("hung: ").then_some(())
    });
}

#[test]
fn a_start_without_enough_descriptors_is_refused_with_what_to_do_and_starts_no_agent() {
    let dir = tempfile::tempdir().unwrap();
    let started = dir.path().join("started");
    for limit in 6..=18 {
        let script = format!(
            "ulimit -n {limit}; exec \"$HB\" --redis-url redis://127.0.0.1:1 --restart never -- touch {}",
            started.display()
        );
        let output = with_hb({
            let mut bash = clean(Path::new("bash"));
            bash.args(["-c", &script]).stdin(Stdio::null());
            bash
        });
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{limit}: {error}");
        assert!(error.contains("(ulimit -n)"), "{limit}: {error}");
        assert_eq!(error.lines().count(), 1, "{limit}: {error}");
    }
    assert!(!started.exists());
}

#[test]
fn an_agent_starts_with_as_few_descriptors_as_are_asked_for() {
    let script = "for fd in /proc/$$/fd/*; do fd=${fd##*/}; [ $fd -lt 3 ] || eval \"exec $fd>&-\"; done; ulimit -n 19; exec \"$HB\" --redis-url redis://127.0.0.1:1 --restart never -- sh -c 'test -S \"$HB_SOCKET\"'";
    let mut bash = clean(Path::new("bash"));
    let output = with_hb({
        bash.args(["-c", script]).stdin(Stdio::null());
        bash
    });
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn where_proc_shows_another_namespace_that_is_logged_and_the_agent_runs() {
    let script = "\"$HB\" --redis-url redis://127.0.0.1:1 --restart never -- sh -c 'echo ran; exit 4'; echo code $?";
    let output = in_a_container(false, script);
    let error = text(&output.stderr);
    assert_eq!(text(&output.stdout), "ran\ncode 4\n", "{error}");
    assert!(error.contains("another pid namespace"), "{error}");
}

#[test]
fn where_proc_shows_the_outer_namespace_with_our_very_number_that_is_logged() {
    // The next number of either namespace is set, and where that is possible the next process has the same in both.
    let next = "/proc/sys/kernel/ns_last_pid";
    let watched = "read -r n rest < /proc/self/stat; echo $$ $n; exec \"$HB\" --redis-url redis://127.0.0.1:1 --restart never -- echo ran";
    let inner = format!("echo 1000 > {next}; sh -c '{watched}'; true");
    let script = format!(
        "echo 998 > {next}; unshare -p -f sh -c \"$INNER\" 2>&1; test -w {next}; echo set $?"
    );
    let mut command = container(true, &script);
    let output = with_hb({
        command.env("INNER", inner);
        command
    });
    let said = text(&output.stdout);
    assert!(said.contains("another pid namespace"), "{output:?}");
    assert!(said.contains("ran\n"), "{output:?}");
    let is_same = said.starts_with("1001 1001\n");
    assert!(is_same || !said.ends_with("set 0\n"), "{output:?}");
}

#[test]
fn where_proc_does_not_know_us_at_all_it_shows_another_namespace() {
    let mut container = Running::start(&mut container(true, "sleep 1000; true"));
    let first = eventually("its first process is there", || {
        let pid = container.pid();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        let first = children.trim().parse::<i32>().ok()?;
        let is_mounted = text_of(format!("/proc/{first}/cmdline").as_ref()).starts_with("sh\0");
        is_mounted.then_some(first)
    });
    let mut enter = clean(Path::new("nsenter"));
    enter.args(["-t", &first.to_string(), "-m"]);
    if !nix::unistd::geteuid().is_root() {
        enter.args(["-U", "--preserve-credentials"]);
    }
    let script = "test -e /proc/self || echo unknown; \"$HB\" --redis-url redis://127.0.0.1:1 --restart never -- echo ran";
    enter.args(["sh", "-c", script]).stdin(Stdio::null());
    let output = with_hb(enter);
    container.kill();
    assert_eq!(text(&output.stdout), "unknown\nran\n", "{output:?}");
    let error = text(&output.stderr);
    assert!(error.contains("another pid namespace"), "{error}");
}

#[test]
fn no_agent_starts_that_could_not_be_ended_for_certain() {
    for flag in ["--exclusive", "--die-with-sidecar"] {
        let script = format!(
            "\"$HB\" --redis-url redis://127.0.0.1:1 {flag} -- sh -c 'echo ran'; echo code $?"
        );
        let output = in_a_container(false, &script);
        let error = text(&output.stderr);
        assert_eq!(text(&output.stdout), "code 125\n", "{error}");
        assert!(error.contains("mount /proc again"), "{error}");
    }
}

#[test]
fn a_process_whose_first_thread_has_ended_is_alive() {
    let leader = "import ctypes, threading, time
threading.Thread(target=time.sleep, args=(1000,)).start()
ctypes.CDLL(None).syscall({'x86_64': 60, 'aarch64': 93}[__import__('os').uname().machine], 0)";
    let agent = Running::start(Command::new("python3").args(["-c", leader]));
    eventually("its first thread has ended", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", agent.pid())).unwrap();
        stat.contains(") Z ").then_some(())
    });
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let mut watch = loud(&["--pid", &agent.pid().to_string(), "--interval", "100ms"]);
    let mut watch = Running::spawn(watch.stderr(std::fs::File::create(&log).unwrap()));
    eventually("it is watched", || {
        let wanted = format!("attached to process {}", agent.pid());
        text_of(&log).contains(&wanted).then_some(())
    });
    // It samples each interval: one that took the process for dead would end with it.
    watch.signal("TERM");
    assert_eq!(watch.exit_code(), Some(0));
}

/// A file system of its own, in a mount namespace of its own, whose server stops answering once its one file is open. The
/// program itself has that file as its output, and waits for a lock on it. Before, the server refuses a flush, and is never
/// sent one again: the end of the program does not wait for it.
/// Mounts a file system on its first argument, in a mount namespace of its own, whose server answers until the call of this
/// number in its second one (linux/fuse.h) and not that.
const HUNG_MOUNT: &str = "import ctypes, fcntl, os, sys, time
from struct import pack, unpack_from
libc = ctypes.CDLL(None)
assert libc.unshare(0x20000) == 0 and libc.mount(b'none', b'/', None, 0x44000, None) == 0
device = '/dev/fuse'
if not os.path.exists(device):
    device = sys.argv[1] + '/fuse'
    os.mknod(device, 0o20600, os.makedev(10, 229))
server = os.open(device, os.O_RDWR)
options = b'fd=%d,rootmode=40000,user_id=0,group_id=0' % server
assert libc.mount(b'hung', sys.argv[1].encode(), b'fuse', 0, options) == 0
def serve():
    call, last = 0, int(sys.argv[2])
    while call != last:
        _, call, unique, node = unpack_from('IIQQ', os.read(server, 1 << 17))
        mode = 0o100755 if node > 1 or call == 1 else 0o40755
        found = pack('6Q10I', 2, 5, 1, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)
        answer = {1: pack('4Q2I', 2, 1, 0, 0, 0, 0) + found, 3: pack('Q2I', 0, 0, 0) + found, 14: bytes(16),
                  26: pack('4I2H2I', 7, 31, 4096, 0, 0, 0, 4096, 1) + bytes(32)}.get(call, b'')
        if call == 25 or call != last:
            os.write(server, pack('IiQ', 16 + len(answer), -38 * (call == 25), unique) + answer)
    time.sleep(1000)
if os.fork() == 0: serve()
os.close(server)
";

/// Its first output is a file there, and it waits for a lock that it holds itself.
const HUNG_FILES: &str =
    "first, second = (os.open(sys.argv[1] + '/output', os.O_RDWR) for _ in range(2))
os.close(os.dup(first))
os.dup2(first, 1)
fcntl.flock(first, fcntl.LOCK_EX)
print('hung', file=sys.stderr, flush=True)
fcntl.flock(second, fcntl.LOCK_EX)
";

#[test]
fn an_agent_whose_program_lies_on_a_mount_that_hangs_is_watched_and_hbsidecar_obeys() {
    let dir = tempfile::tempdir().unwrap();
    let mount = dir.path().join("mount");
    std::fs::create_dir(&mount).unwrap();
    let log = dir.path().join("log");
    let script = format!("{HUNG_MOUNT}os.execv(sys.argv[3], sys.argv[3:])");
    const OPEN: &str = "14";
    let mut python = clean(Path::new("python3"));
    python.args(["-c", &script, mount.to_str().unwrap(), OPEN]);
    python.arg(program("hbsidecar"));
    python.args([
        "-v",
        "--redis-url",
        "redis://127.0.0.1:1",
        "--grace",
        "1s",
        "--",
    ]);
    python.arg(mount.join("agent"));
    let mut sidecar = Running::start(python.stderr(std::fs::File::create(&log).unwrap()));
    let children = format!("/proc/{0}/task/{0}/children", sidecar.pid());
    eventually("its child is there", || {
        let ended = sidecar.0.try_wait().unwrap();
        assert_eq!(ended, None, "FUSE and root are needed: {}", text_of(&log));
        // Beside the server, which was there before.
        let below = text_of(Path::new(&children)).split_whitespace().count();
        (below == 2).then_some(())
    });
    sidecar.signal("TERM");
    // Nothing can end a process in such a wait: that it says so shows that it obeyed.
    eventually("hbsidecar says what survives", || {
        text_of(&log).contains("survive KILL").then_some(())
    });
    sidecar.kill_all();
}

#[test]
fn a_file_system_that_hangs_does_not_hold_who_looks_at_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let errors = dir.path().join("errors");
    let script = format!("{HUNG_MOUNT}{HUNG_FILES}");
    const FLUSH: &str = "25";
    let mut python = clean(Path::new("python3"));
    python
        .args(["-c", &script, dir.path().to_str().unwrap(), FLUSH])
        .stderr(std::fs::File::create(&errors).unwrap());
    let mut agent = Running::start(&mut python);
    let hangs = eventually("its files hang, or it cannot mount them", || {
        let ended = agent.0.try_wait().unwrap().is_some();
        let hangs = text_of(&errors).contains("hung\n");
        (ended || hangs).then_some(hangs)
    });
    assert!(hangs, "FUSE and root are needed: {}", text_of(&errors));
    let ends = |seconds: &str, command: &[&str]| {
        let mut timeout = clean(Path::new("timeout"));
        timeout.args(["-s", "KILL", seconds]).args(command);
        let output = timeout.output().unwrap();
        (output.status.code().is_some_and(|code| code < 128), output)
    };
    let pid = agent.pid().to_string();
    let output = format!("/proc/{pid}/fd/1");
    let (ended, _) = ends("1", &["stat", "-L", &output]);
    assert!(!ended, "its server is asked for the attributes and silent");
    let sidecar = program("hbsidecar");
    let diagnose = [sidecar.to_str().unwrap(), "diagnose", &pid];
    let (ended, output) = ends("20", &diagnose);
    assert!(ended, "{output:?}");
    let said = text(&output.stdout);
    assert!(said.contains("lock"), "{said}");
}

#[test]
fn another_build_of_hbsidecar_is_not_the_process_that_matches() {
    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("hbsidecar-old");
    copy_program(&program("hbsidecar"), &other);
    let mark = format!("hb-match-{}", std::process::id());
    let mut first = clean(&other);
    first.args(["-q", "--redis-url", "redis://127.0.0.1:1", "--match", &mark]);
    let _first = Running::start(&mut first);
    let agent = Running::spawn(
        Command::new("sh")
            .args(["-c", "read x; true", &mark])
            .stdin(Stdio::piped()),
    );
    let log = dir.path().join("log");
    let mut second = clean(&program("hbsidecar"));
    second.args(["-v", "--redis-url", "redis://127.0.0.1:1", "--match", &mark]);
    let _second = Running::start(second.stderr(std::fs::File::create(&log).unwrap()));
    eventually("the agent is found", || {
        let wanted = format!("attached to process {}", agent.pid());
        std::fs::read_to_string(&log)
            .unwrap()
            .contains(&wanted)
            .then_some(())
    });
}

#[test]
fn a_health_check_finds_the_only_sidecar_however_long_its_id_is() {
    let dir = tempfile::tempdir().unwrap();
    let id = "x".repeat(128);
    let mut command = sidecar(&["--id", &id, "--", "sleep", "1000"]);
    let _agent = Running::spawn(command.env("XDG_RUNTIME_DIR", dir.path()));
    eventually("it answers", || {
        let mut check = clean(&program("hbsidecar"));
        check.arg("healthcheck").env("XDG_RUNTIME_DIR", dir.path());
        check.output().unwrap().status.success().then_some(())
    });
}

/// Its socket does not fit into the runtime directory, which only says where it is.
#[test]
fn a_health_check_finds_a_sidecar_whose_entry_a_cleaner_removed() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("x".repeat(100));
    std::fs::create_dir(&run).unwrap();
    let mut command = sidecar(&["--id", "a1", "--interval", "200ms", "--", "sleep", "1000"]);
    let _agent = Running::spawn(command.env("XDG_RUNTIME_DIR", &run));
    let answers = || {
        let mut check = clean(&program("hbsidecar"));
        check.arg("healthcheck").env("XDG_RUNTIME_DIR", &run);
        check.output().unwrap().status.success().then_some(())
    };
    eventually("it answers", answers);
    std::fs::remove_dir_all(run.join("hb")).unwrap();
    eventually("it answers again", answers);
}
