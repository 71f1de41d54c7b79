"""What hbsidecar and its peers do with a program, row by row: prints a Markdown table of yes, no and - (does not apply).

Each row starts a real program under each peer and looks at what came of it. With --docs FILE the table in FILE must say the
same of every peer that is installed. Nothing but the standard library is needed; Linux, root (one row uses a pid namespace).
"""

import argparse
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SOON = 8.0
# A row that waits for something not to happen waits this long.
A_WHILE = 1.5


class Run:
    """A program under a peer, in a directory of its own."""

    def __init__(self, peer, script, extra=(), namespace=False, **how):
        self.peer = peer
        self.dir = Path(tempfile.mkdtemp(prefix="peer-"))
        (self.dir / "run").write_text("#!/bin/sh\n" + script + "\n")
        (self.dir / "run").chmod(0o755)
        environment = {**os.environ, "XDG_RUNTIME_DIR": str(self.dir), "D": str(self.dir)}
        self.command = peer.command(self.dir, list(extra))
        if namespace:
            self.command = ["unshare", "-pf", "--mount-proc", "--kill-child"] + self.command
        self.environment = environment
        how.setdefault("stdin", subprocess.DEVNULL)
        how.setdefault("stdout", subprocess.DEVNULL)
        self.process = subprocess.Popen(self.command, cwd=self.dir, env=environment, stderr=subprocess.DEVNULL, **how)

    def text(self, name):
        try:
            return (self.dir / name).read_text()
        except OSError:
            return ""

    def until(self, condition, within=SOON):
        end = time.monotonic() + within
        while time.monotonic() < end:
            if condition():
                return True
            time.sleep(0.02)
        return bool(condition())

    def has(self, name, text="", within=SOON):
        return self.until(lambda: (self.dir / name).exists() and text in self.text(name), within)

    def pid(self, name="pid"):
        self.has(name, "\n")
        return int(self.text(name).split()[-1])

    def code(self, within=SOON):
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            return None

    def close(self):
        """Everything that names our directory in its environment."""
        mark = f"D={self.dir}".encode()
        for _ in range(3):
            for entry in os.listdir("/proc"):
                if entry.isdigit() and int(entry) != os.getpid():
                    try:
                        if mark in Path("/proc", entry, "environ").read_bytes().split(b"\0"):
                            os.kill(int(entry), signal.SIGKILL)
                    except OSError:
                        pass
        self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


class Peer:
    def __init__(self, name, program, flags=(), service=False, options=()):
        self.name, self.program, self.flags, self.service = name, program, list(flags), service
        self.options = dict(options)

    def command(self, directory, extra):
        if self.service:
            return [self.program, str(directory)]
        return [self.program] + self.flags + extra + ["--", str(directory / "run")]

    def option(self, name):
        return self.options.get(name)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] not in "ZX"
    except OSError:
        return False


ROWS = []


def row(what, services=True):
    """A row; `services` is false where it does not apply to supervisors that never exit with their program."""

    def put(check):
        ROWS.append((what, services, check))
        return check

    return put


@row("exit code of the program is the wrapper's", services=False)
def exit_code(start):
    return all(start(f"exit {code}", never=True).code() == code for code in (0, 1, 7, 128, 255))


@row("death by a signal is seen as that signal or 128+n", services=False)
def death(start):
    return start("kill -KILL $$", never=True).code() in (-9, 137)


@row("command not found is 127, not executable 126", services=False)
def not_found(start):
    run = start("exit 0", never=True)
    run.code()
    codes = []
    for name, mode in (("none", None), ("plain", 0o644)):
        if mode:
            (run.dir / name).write_text("x")
            (run.dir / name).chmod(mode)
        command = run.command[:-1] + [str(run.dir / name)]
        done = subprocess.run(command, env=run.environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=SOON)
        codes.append(done.returncode)
    return codes == [127, 126]


@row("TERM ends the program, which may take its time")
def term(start):
    run = start("trap 'sleep 0.2; echo > got; exit 0' TERM; echo > up; while :; do sleep 0.05; done", never=True)
    run.has("up")
    run.process.terminate()
    return run.has("got")


def passes_on(start, number):
    script = f"exec python3 -c 'import signal,os\nsignal.signal({number}, lambda *_: open(\"got\",\"w\"))\nopen(\"up\",\"w\")\nwhile 1: signal.pause()'"
    run = start(script, never=True)
    run.has("up")
    run.process.send_signal(number)
    return run.has("got", within=A_WHILE) and run.process.poll() is None


@row("USR1 reaches the program")
def usr1(start):
    return passes_on(start, signal.SIGUSR1)


@row("a real-time signal reaches it")
def real_time(start):
    return passes_on(start, 40)


@row("a signal of a fault (ABRT), sent by kill, reaches it")
def fault(start):
    return passes_on(start, signal.SIGABRT)


@row("a signal reaches the program's whole group")
def group(start):
    child = "python3 -c 'import signal\nsignal.signal(10, lambda *_: open(\"got\",\"w\"))\nopen(\"up\",\"w\")\nsignal.pause()'"
    run = start(f"trap '' USR1\n{child}\nsleep 60", never=True)
    run.has("up")
    run.process.send_signal(signal.SIGUSR1)
    return run.has("got", within=A_WHILE)


@row("signals can be rewritten", services=False)
def rewritten(start):
    flags = start.peer.option("rewrite")
    if not flags:
        return False
    run = start("trap 'echo > got' USR2; echo > up; while :; do sleep 0.05; done", flags=flags, never=True)
    run.has("up")
    run.process.send_signal(signal.SIGUSR1)
    return run.has("got", within=A_WHILE)


@row("blocked and ignored signals reach the program as they were", services=False)
def inherited(start):
    def before():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGALRM])

    show = "grep -E '^Sig(Blk|Ign)' /proc/self/status > seen; exit 0"
    run = start(show, never=True, preexec_fn=before)
    run.code()
    plain = subprocess.run(["sh", "-c", "grep -E '^Sig(Blk|Ign)' /proc/self/status"], preexec_fn=before, capture_output=True, text=True)
    return run.text("seen") == plain.stdout


@row("no descriptor of its own reaches the program")
def descriptors(start):
    run = start("ls /proc/$$/fd > seen.tmp; mv seen.tmp seen; sleep 60", never=True)
    run.has("seen")
    with (run.dir / "plain").open("w") as plain:
        subprocess.run(["sh", "-c", "ls /proc/$$/fd; exit 0"], stdin=subprocess.DEVNULL, stdout=plain, stderr=subprocess.DEVNULL)
    # 10 is the script that a shell reads, 11 its own standard output meanwhile.
    return set(run.text("seen").split()) <= set(run.text("plain").split()) | {"10", "11"}


@row("as process 1 it reaps orphans")
def reaping(start):
    script = "for i in 1 2 3 4 5; do sh -c 'sleep 0.1 & exit'; done; sleep 0.7; ps -eo stat= | grep -c Z > seen; sleep 60"
    run = start(script, never=True, namespace=True)
    run.has("seen", "\n")
    return run.text("seen").strip() == "0"


@row("processes that outlive the program get TERM")
def leftovers(start):
    script = "sh -c 'trap \"echo > got; exit\" TERM; echo > up; while :; do sleep 0.05; done' & while [ ! -e up ]; do sleep 0.02; done; exit 0"
    run = start(script, never=True)
    run.has("up")
    return run.has("got", within=A_WHILE)


@row("a daemon that left group and session is ended by a stop")
def daemon(start):
    run = start("setsid sh -c 'echo $$ > pid; exec sleep 60' & sleep 60", never=True)
    pid = run.pid()
    run.process.terminate()
    return run.until(lambda: not alive(pid), 4)


@row("a program that ignores TERM is killed")
def stubborn(start):
    run = start("trap '' TERM; echo $$ > pid; while :; do sleep 0.05; done", never=True, flags=start.peer.option("grace") or ())
    pid = run.pid()
    run.process.terminate()
    return run.until(lambda: not alive(pid), 4)


@row("a stopped program gets its TERM")
def stopped(start):
    run = start("echo $$ > pid; exec sleep 60", never=True)
    pid = run.pid()
    time.sleep(0.1)
    os.kill(pid, signal.SIGSTOP)
    time.sleep(0.1)
    run.process.terminate()
    return run.until(lambda: not alive(pid), 3)


class Terminal:
    """A bash with job control on a terminal of its own."""

    def __init__(self, run):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(run.dir)
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], {**run.environment, "PS1": "", "TERM": "dumb"})
        self.seen = ""

    def types(self, text):
        os.write(self.fd, text.encode())

    def shows(self, pattern, within=SOON):
        end = time.monotonic() + within
        while time.monotonic() < end:
            if select.select([self.fd], [], [], 0.05)[0]:
                try:
                    self.seen += os.read(self.fd, 4096).decode("utf8", "replace")
                except OSError:
                    break
            if re.search(pattern, self.seen):
                return True
        return False

    def close(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


def on_terminal(start, script, steps, line="W"):
    run = start("exit 0", never=True)
    run.code()
    (run.dir / "run").write_text("#!/bin/sh\n" + script + "\n")
    terminal = Terminal(run)
    try:
        terminal.types("stty -echo\n" + line.replace("W", " ".join(run.command)) + "; echo code=$?\n")
        for wait, keys in steps[:-1]:
            if not terminal.shows(wait):
                return False
            time.sleep(0.3)  # a shell that is about to start a child cannot be stopped
            terminal.types(keys)
        return terminal.shows(steps[-1])
    finally:
        terminal.close()


@row("on a terminal a shell as the program has job control", services=False)
def job_control(start):
    script = "exec bash --norc -c 'set -m; echo u\"\"p; sleep 60 & fg; echo af\"\"ter; exit 3'"
    return on_terminal(start, script, [("up", ""), ("sleep 60", "\x1a"), ("after", ""), "code=3"])


@row("standard input is a pipe, the program reads /dev/tty", services=False)
def dev_tty(start):
    script = "read a; echo u\"\"p; read b </dev/tty; echo got:$a:$b"
    return on_terminal(start, script, [("up", "hello\n"), "got:x:hello"], line="echo x | W")


@row("Ctrl-Z stops the job, fg resumes it", services=False)
def ctrl_z(start):
    script = "echo u\"\"p; sleep 1; sleep 1; echo do\"\"ne"
    return on_terminal(start, script, [("up", "\x1a"), ("Stopped", "fg\n"), "done"])


@row("kill -9 of the wrapper kills the program too, if wanted")
def dies_with(start):
    flags = start.peer.option("dies")
    if not flags:
        return False
    run = start("echo $$ > pid; exec sleep 60", flags=flags, never=True)
    pid = run.pid()
    run.process.kill()
    return run.until(lambda: not alive(pid), 3)


@row("after kill -9 the next wrapper takes the program over, without a second copy")
def adopts(start):
    run = start("echo $$ >> pid; exec sleep 60", flags=start.peer.option("identity") or ())
    pid = run.pid()
    time.sleep(0.3)
    run.process.kill()
    run.process.wait()
    again = subprocess.Popen(run.command, cwd=run.dir, env=run.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(A_WHILE)
    copies = len(run.text("pid").split())
    again.terminate()
    ended = run.until(lambda: not alive(pid), 4)
    again.kill()
    again.wait()
    return copies == 1 and ended


@row("a program that crashes is started again")
def restarts(start):
    run = start("echo >> starts; [ $(wc -l < starts) -gt 1 ] && exec sleep 60; sleep 1.2; exit 3")
    return run.until(lambda: len(run.text("starts").split("\n")) > 2, 5)


@row("a crash loop ends and is reported", services=True)
def crash_loop(start):
    if not start.peer.option("loop"):
        return False
    run = start("echo >> starts; exit 3", flags=start.peer.option("loop"))
    return run.code() == 3 and len(run.text("starts").split("\n")) == 3


@row("a pipe that the program closes is at its end", services=False)
def closed_pipe(start):
    run = start("exec >&-; exec sleep 60", never=True, stdout=subprocess.PIPE)
    return bool(select.select([run.process.stdout], [], [], A_WHILE)[0])


class Starter:
    """Starts programs of one row and ends them all."""

    def __init__(self, peer):
        self.peer, self.runs = peer, []

    def __call__(self, script, flags=(), never=False, **how):
        once = self.peer.option("once") if never else None
        self.runs.append(Run(self.peer, script, [*(once or ()), *flags], **how))
        return self.runs[-1]

    def close(self):
        for run in self.runs:
            run.close()


def peers(hbsidecar):
    here = ["-q", "--redis-url", "redis://127.0.0.1:1", "--backoff", "100ms"]
    ours = {
        "once": ["--restart", "never"], "rewrite": ["--rewrite", "USR1:USR2"], "grace": ["--grace", "500ms"],
        "dies": ["--die-with-sidecar"], "identity": ["--id", "peer"], "loop": ["--max-restarts", "1"],
    }
    return [
        Peer("hbsidecar", hbsidecar, here, options=ours),
        Peer("tini", "tini", ["-s", "-g"], options={"dies": ["-p", "SIGKILL"]}),
        Peer("dumb-init", "dumb-init", options={"rewrite": ["-r", "10:12"]}),
        Peer("catatonit", "catatonit", ["-g"]),
        Peer("runsv", "runsv", service=True),
        Peer("s6-supervise", "s6-supervise", service=True),
    ]


def cell(peer, services, check):
    if peer.service and not services:
        return "-"
    start = Starter(peer)
    try:
        return "yes" if check(start) else "no"
    finally:
        start.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hbsidecar", required=True)
    parser.add_argument("--docs", help="a file that must hold the same table")
    parser.add_argument("rows", nargs="*", help="parts of the rows' names")
    arguments = parser.parse_args()
    every = [peer for peer in peers(arguments.hbsidecar) if shutil.which(peer.program)]
    for peer in peers(arguments.hbsidecar):
        if not shutil.which(peer.program):
            print(f"{peer.name} is not installed: not in the table", file=sys.stderr)
    seen = {}
    print("| | " + " | ".join(peer.name for peer in every) + " |")
    print("|---" * (len(every) + 1) + "|", flush=True)
    for what, services, check in ROWS:
        if arguments.rows and not any(part in what for part in arguments.rows):
            continue
        cells = [cell(peer, services, check) for peer in every]
        seen.update({(what, peer.name): found for peer, found in zip(every, cells)})
        print(f"| {what} | " + " | ".join(cells) + " |", flush=True)
    if arguments.docs:
        kept = written(Path(arguments.docs).read_text())
        wrong = [key for key, found in seen.items() if key[1] in kept["peers"] and kept.get(key) != found]
        for what, name in wrong:
            print(f"{arguments.docs}: {what}, {name}: {kept.get((what, name))}, seen: {seen[what, name]}", file=sys.stderr)
        sys.exit(bool(wrong))


def written(text):
    """The cells of the table whose first peer is hbsidecar, by row and peer; `peers`: its columns."""
    lines = [[part.strip() for part in line.strip().strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    start = next(i for i, line in enumerate(lines) if line[1:2] == ["hbsidecar"])
    names = lines[start][1:]
    cells = {"peers": names}
    for line in lines[start + 2 :]:
        cells.update({(line[0], name): value for name, value in zip(names, line[1:])})
    return cells


if __name__ == "__main__":
    main()
