//! hbsidecar between a real interactive bash and a terminal agent: the shell, the person and the agent must not notice.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]
#![expect(clippy::disallowed_methods, reason = "tests run the real world")]

mod support;

use std::process::Command;
use std::sync::OnceLock;
use support::pty::{CTRL_BACKSLASH, CTRL_C, CTRL_Z, Terminal};
use support::{Redis, eventually, program};

/// Says what reaches it: signals with how often, lines, window sizes. Lines tell it what to do.
const AGENT: &str = r#"
import os, signal, sys
counts = {}
def say(text):
    os.write(1, ("<" + text + ">\n").encode())
def heard(number, frame):
    name = signal.Signals(number).name[3:].lower()
    counts[name] = counts.get(name, 0) + 1
    size = os.get_terminal_size(2)
    say(f"{name} {counts[name]}" + (f" {size.lines}x{size.columns}" if name == "winch" else ""))
for name in ("INT", "CONT", "WINCH"):
    signal.signal(getattr(signal, "SIG" + name), heard)
say(f"ready {os.getpid()} {os.getppid()}")
while sys.argv[1] == "waits":
    signal.pause()
for line in iter(lambda: os.read(0, 4096).decode().strip(), ""):
    if line == "counts":
        say("counts " + " ".join(f"{name}={counts[name]}" for name in sorted(counts)))
    elif line == "tell my group":
        os.kill(-os.getpid(), signal.SIGWINCH)
    elif line.startswith("end "):
        sys.exit(int(line[4:]))
    else:
        say("line " + line)
"#;

/// An agent at work in a terminal.
struct Agent {
    pid: i32,
    sidecar: i32,
}

/// A Python that is no shell script around one: signals and numbers are its own.
fn python() -> &'static str {
    static PYTHON: OnceLock<String> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let ask = ["-c", "import sys; print(sys.executable, end='')"];
        let said = Command::new("python3").args(ask).output().unwrap();
        String::from_utf8(said.stdout).unwrap()
    })
}

/// The command line of [`AGENT`] under the sidecar. Its tests are about one incarnation.
fn command(terminal: &Terminal, mode: &str) -> String {
    terminal.write("agent.py", AGENT);
    format!(
        "{} --restart never -- {} agent.py {mode}",
        Terminal::sidecar(),
        python()
    )
}

fn ready(terminal: &mut Terminal) -> Agent {
    terminal.wait_for("<ready ");
    let numbers = terminal.wait_for(">");
    let (pid, sidecar) = numbers.split_once(' ').unwrap();
    Agent {
        pid: pid.parse().unwrap(),
        sidecar: sidecar.parse().unwrap(),
    }
}

/// The agent reads lines in the foreground.
fn at_work() -> (Terminal, Agent) {
    let mut terminal = Terminal::start();
    let line = command(&terminal, "reads");
    terminal.type_line(&line);
    let agent = ready(&mut terminal);
    (terminal, agent)
}

fn end_with(terminal: &mut Terminal, code: i32) {
    terminal.type_line(&format!("end {code}"));
    terminal.wait_for_prompt();
    assert_eq!(terminal.last_code(), code);
}

/// The state letter of a process: `T` is stopped.
fn state(pid: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

fn gone(pid: i32) {
    eventually(&format!("{pid} is gone"), || {
        state(pid).is_none().then_some(())
    });
}

fn stopped(agent: &Agent) {
    for pid in [agent.pid, agent.sidecar] {
        eventually(&format!("{pid} is stopped"), || {
            (state(pid)? == 'T').then_some(())
        });
    }
}

fn foreground(terminal: &Terminal, agent: &Agent) {
    eventually("the agent has the terminal", || {
        (terminal.foreground() == agent.pid).then_some(())
    });
}

/// Whoever has the terminal waits for a key. Many programs miss a signal that comes between their prompt and that.
fn reading(terminal: &Terminal) {
    eventually("it waits for a key", || {
        (state(terminal.foreground())? == 'S').then_some(())
    });
}

fn press(terminal: &mut Terminal, key: char) {
    reading(terminal);
    terminal.press(key);
}

#[test]
fn the_agent_sees_a_terminal_on_all_three_and_has_the_foreground() {
    let mut terminal = Terminal::start();
    let three = format!(
        r#"{} -- {} -c 'import os; print([os.isatty(n) for n in (0, 1, 2)], os.tcgetpgrp(0) == os.getpid())'"#,
        Terminal::sidecar(),
        python()
    );
    terminal.type_line(&three);
    terminal.wait_for("[True, True, True] True");
    terminal.wait_for_prompt();
    assert_eq!(terminal.last_code(), 0);
}

#[test]
fn ctrl_c_reaches_the_agent_once_each_time() {
    let (mut terminal, _) = at_work();
    for n in 1..=3 {
        press(&mut terminal, CTRL_C);
        terminal.wait_for(&format!("<int {n}>"));
    }
    terminal.type_line("still there");
    terminal.wait_for("<line still there>");
    terminal.type_line("counts");
    terminal.wait_for("<counts int=3>");
    end_with(&mut terminal, 5);
}

#[test]
fn three_times_ctrl_c_at_once_do_not_kill_the_agent() {
    let (mut terminal, _) = at_work();
    for _ in 0..3 {
        terminal.press(CTRL_C);
    }
    terminal.wait_for("<int 1>");
    terminal.type_line("still there");
    terminal.wait_for("<line still there>");
    end_with(&mut terminal, 5);
}

#[test]
fn a_python_prompt_is_interrupted_and_goes_on() {
    let mut terminal = Terminal::start();
    let repl = format!(
        "PYTHON_BASIC_REPL=1 {} --restart never -- {} -q -i",
        Terminal::sidecar(),
        python()
    );
    terminal.type_line(&repl);
    terminal.wait_for(">>> ");
    for _ in 0..2 {
        press(&mut terminal, CTRL_C);
        terminal.wait_for("KeyboardInterrupt");
        let between = terminal.wait_for(">>> ");
        assert!(
            !between.contains("Interrupt"),
            "interrupted twice: {between:?}"
        );
    }
    terminal.type_line("print(6 * 7)");
    terminal.wait_for("42");
    terminal.type_line("exit(9)");
    terminal.wait_for_prompt();
    assert_eq!(terminal.last_code(), 9);
}

#[test]
fn ctrl_c_that_ends_the_agent_is_no_failure_and_the_shell_sees_130() {
    let mut terminal = Terminal::start();
    let line = format!(
        "{} -- sh -c 'echo started; exec sleep 60'",
        Terminal::sidecar()
    );
    terminal.type_line(&line);
    terminal.wait_for("started\r\n");
    terminal.press(CTRL_C);
    let said = terminal.wait_for_prompt();
    assert!(!said.contains("started"), "it was started again: {said:?}");
    assert_eq!(terminal.last_code(), 128 + 2);
}

#[test]
fn ctrl_c_ends_a_script_around_the_sidecar_too() {
    let mut terminal = Terminal::start();
    terminal.write(
        "script",
        &format!(
            "{} -- sh -c 'echo started; exec sleep 60'\necho went on\n",
            Terminal::sidecar()
        ),
    );
    terminal.type_line("sh script");
    terminal.wait_for("started\r\n");
    terminal.press(CTRL_C);
    let said = terminal.wait_for_prompt();
    assert!(!said.contains("went on"), "as without hbsidecar: {said:?}");
}

#[test]
fn ctrl_backslash_is_a_quit() {
    let mut terminal = Terminal::start();
    let line = format!(
        "{} -- sh -c 'ulimit -c 0; echo started; exec sleep 60'",
        Terminal::sidecar()
    );
    terminal.type_line(&line);
    terminal.wait_for("started\r\n");
    terminal.press(CTRL_BACKSLASH);
    terminal.wait_for("Quit");
    terminal.wait_for_prompt();
    assert_eq!(terminal.last_code(), 128 + 3);
}

#[test]
fn a_death_by_signal_is_seen_by_the_shell_as_what_it_was() {
    let mut terminal = Terminal::start();
    for (name, number, bash_says) in [
        ("TERM", 15, "Terminated"),
        ("KILL", 9, "Killed"),
        ("SEGV", 11, "Segmentation fault"),
        ("USR1", 10, "User defined signal 1"),
    ] {
        let line = format!(
            "{} --restart never -- sh -c 'kill -{name} $$'",
            Terminal::sidecar()
        );
        terminal.type_line(&line);
        let said = terminal.wait_for_prompt();
        assert!(said.contains(bash_says), "{name}: {said:?}");
        assert_eq!(terminal.last_code(), 128 + number, "{name}");
    }
}

#[test]
fn ctrl_z_stops_both_and_fg_brings_the_agent_back_with_the_terminal() {
    let (mut terminal, agent) = at_work();
    for n in 1..=2 {
        press(&mut terminal, CTRL_Z);
        terminal.wait_for("Stopped");
        terminal.wait_for_prompt();
        stopped(&agent);
        terminal.assert_shell_has_it();
        terminal.type_line("fg");
        terminal.wait_for("<cont ");
        foreground(&terminal, &agent);
        terminal.type_line(&format!("back {n}"));
        terminal.wait_for(&format!("<line back {n}>"));
        press(&mut terminal, CTRL_C);
        terminal.wait_for(&format!("<int {n}>"));
    }
    end_with(&mut terminal, 6);
}

#[test]
fn the_fleet_hears_that_an_agent_is_suspended_and_that_it_goes_on() {
    let redis = Redis::start();
    let mut terminal = Terminal::start();
    terminal.write("agent.py", AGENT);
    let line = format!(
        "{} -q --id napper --interval 30s --redis-url {} -- {} agent.py reads",
        program("hbsidecar").display(),
        redis.socket_url(),
        python()
    );
    terminal.type_line(&line);
    let agent = ready(&mut terminal);
    let is = |status: &str, stopped: bool| {
        eventually(&format!("it is {status}"), || {
            let now: Option<String> = redis.run(&["HGET", "agent:napper", "status"]);
            let at: Option<String> = redis.run(&["HGET", "agent:napper", "stoppedAt"]);
            let roster: Option<String> = redis.run(&["HGET", "hb:agents", "napper"]);
            let listed = roster?.contains("stoppedAt");
            (now? == status && (at.is_some(), listed) == (stopped, stopped)).then_some(())
        });
    };
    is("healthy", false);
    press(&mut terminal, CTRL_Z);
    terminal.wait_for("Stopped");
    stopped(&agent);
    is("stopped", true);
    terminal.wait_for_prompt();
    terminal.type_line("fg");
    foreground(&terminal, &agent);
    is("healthy", false);
    end_with(&mut terminal, 0);
}

#[test]
fn fg_continues_the_agent_once() {
    let (mut terminal, agent) = at_work();
    press(&mut terminal, CTRL_Z);
    terminal.wait_for("Stopped");
    terminal.wait_for_prompt();
    stopped(&agent);
    terminal.type_line("fg");
    foreground(&terminal, &agent);
    terminal.type_line("back");
    terminal.wait_for("<line back>");
    terminal.type_line("counts");
    terminal.wait_for("<counts cont=1>");
}

#[test]
fn bg_lets_the_agent_go_on_and_does_not_take_the_terminal() {
    let mut terminal = Terminal::start();
    let line = command(&terminal, "waits");
    terminal.type_line(&line);
    let agent = ready(&mut terminal);
    press(&mut terminal, CTRL_Z);
    terminal.wait_for("Stopped");
    terminal.wait_for_prompt();
    stopped(&agent);
    terminal.type_line("bg");
    terminal.wait_for("<cont 1>");
    terminal.assert_shell_has_it();
    // Time enough to take it, had it wanted to: the sidecar has been through its loop.
    terminal.type_line(&format!("kill -WINCH {}", agent.sidecar));
    terminal.wait_for("<winch ");
    terminal.assert_shell_has_it();
    brought_to_the_front(&mut terminal, &agent);
}

#[test]
fn a_background_start_never_takes_the_terminal_until_fg_gives_it() {
    let mut terminal = Terminal::start();
    let line = command(&terminal, "waits");
    terminal.type_line(&format!("{line} &"));
    let agent = ready(&mut terminal);
    terminal.assert_shell_has_it();
    brought_to_the_front(&mut terminal, &agent);
}

/// A shell tells nobody when it brings a job to the front that was running: the first key comes to the sidecar.
fn brought_to_the_front(terminal: &mut Terminal, agent: &Agent) {
    let shell = terminal.foreground();
    terminal.type_line("fg");
    eventually("the shell gave the terminal away", || {
        (terminal.foreground() != shell).then_some(())
    });
    press(terminal, CTRL_C);
    terminal.wait_for("<int 1>");
    terminal.resize(40, 100);
    terminal.wait_for(" 40x100>");
    press(terminal, CTRL_C);
    terminal.wait_for("<int 2>");
    press(terminal, CTRL_Z);
    terminal.wait_for("Stopped");
    terminal.wait_for_prompt();
    stopped(agent);
    terminal.type_line("fg");
    foreground(terminal, agent);
    press(terminal, CTRL_C);
    terminal.wait_for("<int 3>");
}

#[test]
fn a_background_agent_that_wants_input_is_a_stopped_job_until_fg() {
    let mut terminal = Terminal::start();
    let line = command(&terminal, "reads");
    terminal.type_line(&format!("{line} &"));
    let agent = ready(&mut terminal);
    stopped(&agent);
    // The kernel tells the shell once the last thread has stopped, which is after the state shows it.
    eventually("the shell lists a stopped job", || {
        terminal.type_line("jobs");
        terminal.wait_for("[1]+");
        let job = terminal.wait_for_prompt();
        job.contains("Stopped").then_some(())
    });
    terminal.type_line("fg");
    foreground(&terminal, &agent);
    terminal.type_line("at last");
    terminal.wait_for("<line at last>");
    end_with(&mut terminal, 4);
}

#[test]
fn ctrl_z_stops_a_whole_pipeline() {
    let mut terminal = Terminal::start();
    let line = command(&terminal, "reads");
    terminal.type_line(&format!("{line} | cat"));
    let agent = ready(&mut terminal);
    press(&mut terminal, CTRL_Z);
    terminal.wait_for("Stopped");
    terminal.wait_for_prompt();
    stopped(&agent);
    terminal.type_line("fg");
    foreground(&terminal, &agent);
    terminal.type_line("on we go");
    terminal.wait_for("<line on we go>");
    end_with(&mut terminal, 0);
}

#[test]
fn ctrl_z_in_a_window_without_a_shell_does_not_strand_the_agent() {
    let line = format!(
        "{} --restart never -- {} agent.py reads",
        Terminal::sidecar(),
        python()
    );
    let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let mut terminal = Terminal::open(&words, &[("agent.py", AGENT)]);
    let agent = ready(&mut terminal);
    foreground(&terminal, &agent);
    press(&mut terminal, CTRL_Z);
    // Nobody is there to type `fg`: the kernel lets nobody stop, and hbsidecar must not undo that.
    terminal.type_line("still there");
    terminal.wait_for("<line still there>");
    press(&mut terminal, CTRL_C);
    terminal.wait_for("<int 1>");
}

#[test]
fn a_new_window_size_reaches_the_agent_once() {
    let (mut terminal, _) = at_work();
    terminal.resize(40, 100);
    terminal.wait_for("<winch 1 40x100>");
    terminal.resize(10, 20);
    terminal.wait_for("<winch 2 10x20>");
    terminal.type_line("counts");
    terminal.wait_for("<counts winch=2>");
}

#[test]
fn an_agent_can_signal_the_group_it_leads() {
    let (mut terminal, _) = at_work();
    terminal.type_line("tell my group");
    terminal.wait_for("<winch 1 24x80>");
    terminal.type_line("counts");
    terminal.wait_for("<counts winch=1>");
}

#[test]
fn a_terminal_left_raw_by_a_killed_agent_is_as_before() {
    let mut terminal = Terminal::start();
    let raw = "import os, signal, tty; tty.setraw(0); os.write(1, b'<raw>'); os.kill(os.getpid(), signal.SIGKILL)";
    terminal.write("raw.py", raw);
    let before = terminal.settings();
    // An sh without job control: it puts nothing right by itself, as an interactive bash would.
    terminal.write(
        "script",
        &format!(
            "{} --restart never -- {} raw.py\necho code=$? settings=$(stty -g).\n",
            Terminal::sidecar(),
            python()
        ),
    );
    terminal.type_line("echo settings=$(stty -g).");
    terminal.wait_for("\nsettings=");
    let sane = terminal.wait_for(".");
    terminal.type_line("sh script");
    terminal.wait_for("<raw>");
    terminal.wait_for("code=137 settings=");
    assert_eq!(terminal.wait_for("."), sane);
    terminal.wait_for_prompt();
    assert_eq!(terminal.settings(), before);
    terminal.assert_shell_has_it();
}

#[test]
fn a_full_screen_program_starts_redraws_after_a_resize_stops_comes_back_and_quits() {
    let mut terminal = Terminal::start();
    let lines: String = (1..=200).map(|n| format!("line-{n}.\n")).collect();
    terminal.write("text", &lines);
    let line = format!("{} -- less text", Terminal::sidecar());
    terminal.type_line(&line);
    let first = terminal.wait_for("line-23.");
    assert!(
        first.contains("line-1.") && !first.contains("line-24."),
        "{first:?}"
    );
    reading(&terminal);
    terminal.resize(40, 80);
    terminal.wait_for("line-39.");
    terminal.wait_for(":");
    press(&mut terminal, CTRL_Z);
    terminal.wait_for("Stopped");
    terminal.wait_for_prompt();
    terminal.assert_shell_has_it();
    terminal.type_line("fg");
    terminal.wait_for("line-39.");
    terminal.press('G');
    terminal.wait_for("line-200.");
    terminal.press('q');
    terminal.wait_for_prompt();
    assert_eq!(terminal.last_code(), 0);
    terminal.assert_shell_has_it();
}

#[test]
fn a_curses_program_is_told_of_a_resize() {
    let mut terminal = Terminal::start();
    terminal.write(
        "screen.py",
        "import curses\n\
         def main(screen):\n\
         \x20   key = None\n\
         \x20   while key != ord('q'):\n\
         \x20       curses.update_lines_cols()\n\
         \x20       screen.clear()\n\
         \x20       screen.addstr(0, 0, f'size {curses.LINES} by {curses.COLS}.')\n\
         \x20       screen.refresh()\n\
         \x20       key = screen.getch()\n\
         curses.wrapper(main)\n",
    );
    let line = format!("{} -- {} screen.py", Terminal::sidecar(), python());
    terminal.type_line(&line);
    terminal.wait_for("size 24 by 80.");
    reading(&terminal);
    terminal.resize(31, 101);
    terminal.wait_for("size 31 by 101.");
    terminal.press('q');
    terminal.wait_for_prompt();
    assert_eq!(terminal.last_code(), 0);
}

#[test]
fn a_shell_as_the_agent_has_job_control_of_its_own() {
    let mut terminal = Terminal::start();
    let line = format!(
        "PS1='inner''> ' {} --restart never -- bash --norc --noediting -i",
        Terminal::sidecar()
    );
    terminal.type_line(&line);
    let said = terminal.wait_for("inner> ");
    assert!(!said.contains("job control"), "{said:?}");
    let inner = terminal.foreground();
    terminal.type_line("sleep 60");
    sleeping(&terminal);
    press(&mut terminal, CTRL_Z);
    terminal.wait_for("Stopped");
    terminal.wait_for("inner> ");
    assert_eq!(
        terminal.foreground(),
        inner,
        "the terminal is the inner shell's"
    );
    terminal.type_line("fg");
    sleeping(&terminal);
    press(&mut terminal, CTRL_C);
    terminal.wait_for("inner> ");
    terminal.type_line("exit 3");
    terminal.wait_for_prompt();
    assert_eq!(terminal.last_code(), 3);
}

/// A process that is no sleep yet would not take a signal as one.
fn sleeping(terminal: &Terminal) {
    eventually("sleep has the terminal", || {
        let name = std::fs::read_to_string(format!("/proc/{}/comm", terminal.foreground())).ok()?;
        (name == "sleep\n").then_some(())
    });
}

#[test]
fn input_that_is_no_terminal_reaches_the_agent() {
    let mut terminal = Terminal::start();
    let line = format!("echo some words | {} -- cat -A", Terminal::sidecar());
    terminal.type_line(&line);
    terminal.wait_for("some words$\r\n");
    terminal.wait_for_prompt();
    assert_eq!(terminal.last_code(), 0);
    terminal.assert_shell_has_it();
}

#[test]
fn ctrl_c_reaches_an_agent_whose_input_is_no_terminal() {
    let mut terminal = Terminal::start();
    let line = command(&terminal, "waits");
    terminal.type_line(&format!("{line} </dev/null"));
    ready(&mut terminal);
    press(&mut terminal, CTRL_C);
    terminal.wait_for("<int 1>");
}

/// The command line of [`AGENT`] under a sidecar that reads what it prints.
fn read_by_the_sidecar(terminal: &Terminal, mode: &str) -> String {
    let line = command(terminal, mode);
    line.replace(
        " --restart",
        " --progress-regex '(?P<progress>[0-9]+)%' --restart",
    )
}

#[test]
fn an_agent_that_is_read_sees_a_terminal_of_the_real_size_in_the_foreground() {
    let mut terminal = Terminal::start();
    let three = format!(
        r#"{} --progress-regex '(?P<progress>[0-9]+)%' -- {} -c 'import os; print([os.isatty(n) for n in (0, 1, 2)], os.tcgetpgrp(0) == os.getpid(), [tuple(os.get_terminal_size(n)) for n in (1, 2)])'"#,
        Terminal::sidecar(),
        python()
    );
    terminal.type_line(&three);
    terminal.wait_for("[True, True, True] True [(80, 24), (80, 24)]\r\n");
    terminal.wait_for_prompt();
    assert_eq!(terminal.last_code(), 0);
}

#[test]
fn an_agent_that_is_read_is_interrupted_resized_suspended_and_resumed() {
    let mut terminal = Terminal::start();
    let line = read_by_the_sidecar(&terminal, "reads");
    terminal.type_line(&line);
    let agent = ready(&mut terminal);
    press(&mut terminal, CTRL_C);
    terminal.wait_for("<int 1>");
    terminal.resize(40, 100);
    terminal.wait_for(" 40x100>");
    press(&mut terminal, CTRL_Z);
    terminal.wait_for("Stopped");
    terminal.wait_for_prompt();
    stopped(&agent);
    terminal.type_line("fg");
    foreground(&terminal, &agent);
    terminal.type_line("back");
    terminal.wait_for("<line back>");
    end_with(&mut terminal, 6);
}

#[test]
fn modes_that_an_agent_sets_through_its_output_are_those_of_the_keyboard() {
    let mut terminal = Terminal::start();
    let before = terminal.settings();
    terminal.write(
        "keys.py",
        "import os, termios, tty\n\
         tty.setcbreak(1)\n\
         os.write(1, b'<one key>')\n\
         os.write(1, b'<got ' + os.read(0, 1) + b'>')\n",
    );
    let line = format!(
        "{} --progress-regex '(?P<progress>[0-9]+)%' --restart never -- {} keys.py",
        Terminal::sidecar(),
        python()
    );
    terminal.type_line(&line);
    terminal.wait_for("<one key>");
    eventually("a key needs no newline", || {
        (terminal.settings() != before).then_some(())
    });
    terminal.press('k');
    terminal.wait_for("<got k>");
    terminal.wait_for_prompt();
    assert_eq!(terminal.settings(), before);
}

#[test]
fn nothing_of_ours_is_written_to_a_screen_that_the_agent_uses() {
    let mut terminal = Terminal::start();
    let line = command(&terminal, "reads").replace(" -q ", " -v --id screen ");
    terminal.type_line(&line);
    ready(&mut terminal);
    let log = terminal.path("hb/screen.log");
    let warned = || {
        std::fs::read_to_string(&log)
            .ok()
            .filter(|text| text.contains("store unreachable"))
    };
    eventually("the store is missed, in the file", warned);
    terminal.type_line("end 0");
    let shown = terminal.wait_for(" while the agent had the terminal, the last: ");
    assert!(
        !shown.contains("WARN") && !shown.contains("INFO"),
        "{shown}"
    );
    terminal.wait_for("screen.log");
    terminal.wait_for_prompt();
}

#[test]
fn closing_the_window_ends_the_agent_and_the_sidecar() {
    let (mut terminal, agent) = at_work();
    terminal.close();
    gone(agent.pid);
    gone(agent.sidecar);
    // Of the session only the shell is left, which this test has not reaped.
    eventually("nothing else is left or started again", || {
        let left = Command::new("pgrep")
            .args(["-s", &terminal.session()])
            .output()
            .unwrap();
        (String::from_utf8_lossy(&left.stdout).trim() == terminal.session()).then_some(())
    });
}
