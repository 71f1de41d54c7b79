"""hbsidecar beside other supervisors, in one run: start-up added, kill to next start, memory and wake-ups when idle.

Prints a Markdown table with ratios to hbsidecar. Rounds go through all tools in an order of their own each time, so
that noise of the machine falls on all alike. Nothing but the standard library is needed.
"""

import argparse
import os
import platform
import random
import re
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Flags of hbsidecar in all measurements. The first restart of an agent that made progress is immediate; the bench's agent
# says so to $HB_SOCKET.
HBSIDECAR_FLAGS = ["--interval", "30s", "--quiet"]

# runsv, s6-supervise, supervisord and PM2 punish an agent that lived for less than a second; none here does.
LIVED_BEFORE_KILL = 1.4
RECORD_WITHIN = 15.0
# A restart that takes longer than this was no immediate one.
RESTART_WITHIN = 5.0
IDLE_BEFORE_READING = 10.0


class Tool:
    """One way to start the agent. `prepare` writes what it needs into a directory and returns its command line."""

    def __init__(self, name, prepare, restarts=None, fresh=False, version=None):
        self.name = name
        self.prepare = prepare
        self.no_restart = restarts  # the reason, when it does not
        self.fresh = fresh  # each kill gets a supervisor that has restarted nothing yet
        self.version = version


class Instance:
    """A running supervisor and the records of its agents."""

    def __init__(self, tool, parent, launch, environment):
        self.tool = tool
        self.dir = Path(tempfile.mkdtemp(prefix="i", dir=parent))
        self.record = self.dir / "record"
        os.mkfifo(self.record)
        self.pipe = os.open(self.record, os.O_RDWR | os.O_NONBLOCK)
        self.buffer = b""
        self.agents = []
        self.executed = None
        self.reason = None
        home = {"BENCH_RECORD": self.record, "HOME": self.dir, "PM2_HOME": self.dir / "pm2", "XDG_RUNTIME_DIR": self.dir}
        self.log = self.dir / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [launch, *tool.prepare(self.dir)],
                cwd=self.dir,
                env={**environment, **{k: str(v) for k, v in home.items()}},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def next_record(self, word, within):
        """Waits for the next record of this word; returns its nanoseconds, or None with `reason` set."""
        deadline = time.monotonic() + within
        while True:
            while b"\n" in self.buffer:
                line, self.buffer = self.buffer.split(b"\n", 1)
                what, pid, at = line.decode().split()
                if what == "exec":
                    self.executed = int(at)
                if what == "first":
                    self.agents.append(int(pid))
                if what == word:
                    return int(at)
            left = deadline - time.monotonic()
            ended = self.process.poll() is not None
            if left <= 0 or ended and not self.ready(0):
                self.reason = f"ended with {self.process.returncode}" if ended else f"not within {within:.0f} s"
                return None
            if self.ready(min(left, 0.05)):
                self.buffer += os.read(self.pipe, 4096)

    def ready(self, seconds):
        return bool(select.select([self.pipe], [], [], seconds)[0])

    def started(self):
        """From exec of the supervisor to the agent's first instruction, in ms; None when it did not start."""
        at = self.next_record("first", RECORD_WITHIN)
        if at is None or self.next_record("idle", RECORD_WITHIN) is None:
            return None
        return (at - self.executed) / 1e6

    def kill_agent(self):
        """From kill -9 of the agent to the first instruction of the next one, in ms; None when none came."""
        killed = time.monotonic_ns()
        os.kill(self.agents[-1], signal.SIGKILL)
        at = self.next_record("first", RESTART_WITHIN)
        if at is None or self.next_record("idle", RECORD_WITHIN) is None:
            return None
        return (at - killed) / 1e6

    def supervisor_pids(self):
        """Every process of the tree but the agent."""
        found, look = [], [self.process.pid]
        while look:
            pid = look.pop()
            if pid in self.agents:
                continue
            found.append(pid)
            for task in Path(f"/proc/{pid}/task").iterdir():
                look += [int(child) for child in (task / "children").read_text().split()]
        return found

    def private_kb(self):
        text = "".join(Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in self.supervisor_pids())
        return sum(int(kb) for kb in re.findall(r"^Private_(?:Clean|Dirty):\s+(\d+) kB", text, re.M))

    def wakeups(self):
        return sum(
            int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", (task / "status").read_text(), re.M)[1])
            for task in self.tasks()
        )

    def cpu_ns(self):
        return sum(int((task / "schedstat").read_text().split()[0]) for task in self.tasks())

    def tasks(self):
        return [task for pid in self.supervisor_pids() for task in Path(f"/proc/{pid}/task").iterdir()]

    def stop(self):
        """Ends the supervisor and its agent, whatever state they are in."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            for pid in self.supervisor_pids():
                kill(pid)
            self.process.wait()
        for pid in self.agents[-1:]:
            if executable(pid) == "agent":
                kill(pid)
        os.close(self.pipe)
        shutil.rmtree(self.dir, ignore_errors=True)


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def executable(pid):
    try:
        return Path(os.readlink(f"/proc/{pid}/exe")).name
    except OSError:
        return None


def tools(where, hbsidecar, redis_url):
    agent = str(where / "agent")
    nobody = "redis://127.0.0.1:1"  # nothing listens there: the store is gone

    def service(command):
        def prepare(directory):
            (directory / "service").mkdir()
            (directory / "service" / "run").symlink_to(agent)
            return [command, str(directory / "service")]

        return prepare

    def supervisord(directory):
        (directory / "conf").write_text(
            f"[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile={directory}/pid\n"
            f"[program:agent]\ncommand={agent}\nstdout_logfile=NONE\nstderr_logfile=NONE\n"
        )
        return ["supervisord", "-c", str(directory / "conf")]

    def sidecar(program, url):
        return lambda _: [program, *HBSIDECAR_FLAGS, "--id", "bench", "--redis-url", url, "--", agent]

    # A file of its own: two processes of one file share its pages, and neither would have them as private memory.
    copy = shutil.copy(hbsidecar, where / "hbsidecar-copy")

    pm2 = str(where / "node_modules/.bin/pm2-runtime")
    init = "an init only: does not restart"
    return [
        Tool("hbsidecar", sidecar(hbsidecar, redis_url), fresh=True, version=["--version", hbsidecar]),
        Tool("hbsidecar, no store", sidecar(str(copy), nobody), fresh=True),
        Tool("tini", lambda _: ["tini", "-s", "--", agent], restarts=init, version=["--version", "tini"]),
        Tool("dumb-init", lambda _: ["dumb-init", agent], restarts=init, version=["--version", "dumb-init"]),
        Tool("runsv", service("runsv"), version=["runit"]),
        Tool("s6-supervise", service("s6-supervise"), version=["s6"]),
        Tool("supervisord", supervisord, version=["--version", "supervisord"]),
        Tool("PM2 (pm2-runtime)", lambda _: [pm2, "start", agent, "--interpreter", "none"], version=["--version", pm2]),
        Tool("floor: fork, exec, wait (static)", lambda _: ["--again", agent]),
    ]


def version_of(tool, environment):
    """What the tool says of itself, else what its package says; a number or nothing."""
    if tool.version is None:
        return ""
    if len(tool.version) == 2:
        command = [tool.version[1], tool.version[0]]
    else:
        command = ["dpkg-query", "-W", "-f", "${Version}", tool.version[0]]
    try:
        said = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    except OSError:
        return ""
    found = re.findall(r"\d+(?:\.\d+)+", said.stdout + said.stderr)
    return " " + found[-1] if found else ""


def redis_server(directory):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", directory],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return server, f"redis://127.0.0.1:{port}"
        except OSError:
            if time.monotonic() > deadline or server.poll() is not None:
                server.kill()
                sys.exit("bench-supervisors: redis-server does not start")
            time.sleep(0.05)


class Bench:
    """All measurements; each instance it starts is stopped at the end, even of a failed run."""

    def __init__(self, args, directory, redis_url):
        self.rounds = args.rounds
        self.idle = args.idle
        self.directory = directory
        self.launch = str(args.tools / "launch")
        self.tools = tools(args.tools, args.hbsidecar, redis_url)
        self.bare = Tool("the agent alone", lambda _: [str(args.tools / "agent")])
        ours = re.compile(r"HB_|AGENT_ID$|REDIS_URL$|NOTIFY_SOCKET$|WATCHDOG_|PM2_|BENCH_")
        self.environment = {k: v for k, v in os.environ.items() if not ours.match(k)}
        self.running = []
        self.reasons = {}

    def start(self, tool):
        instance = Instance(tool, self.directory, self.launch, self.environment)
        self.running.append(instance)
        return instance

    def stop(self, instance):
        self.running.remove(instance)
        instance.stop()

    def stop_all(self):
        for instance in list(self.running):
            self.stop(instance)

    def startup(self):
        """By tool: start-up added in each round, that of the agent alone taken off."""
        added = {tool.name: [] for tool in self.tools}
        for n in range(self.rounds):
            progress(f"start-up, round {n + 1} of {self.rounds}")
            took = {}
            for tool in shuffled([self.bare, *self.tools]):
                instance = self.start(tool)
                took[tool.name] = instance.started()
                if took[tool.name] is None:
                    log = instance.log.read_text(errors="replace").strip()[-200:]
                    sys.exit(f"bench-supervisors: {tool.name} did not start the agent ({instance.reason}): {log}")
                self.stop(instance)
            for tool in self.tools:
                added[tool.name].append(took[tool.name] - took[self.bare.name])
        return added

    def restart(self):
        """By tool: kill -9 of the agent to the first instruction of the next one."""
        tools = [tool for tool in self.tools if not tool.no_restart]
        took = {tool.name: [] for tool in tools}
        kept = {}
        for n in range(self.rounds):
            progress(f"restart, round {n + 1} of {self.rounds}")
            # A supervisor that did not bring its agent back once is not asked again.
            tools = [tool for tool in tools if tool.name not in self.reasons]
            for tool in tools:
                if tool.fresh or tool.name not in kept:
                    kept[tool.name] = self.start(tool)
                    kept[tool.name].started()
            time.sleep(LIVED_BEFORE_KILL)
            for tool in shuffled(tools):
                instance = kept[tool.name]
                ms = instance.kill_agent()
                if ms is None:
                    self.reasons[tool.name] = f"did not restart ({instance.reason})"
                else:
                    took[tool.name].append(ms)
                if ms is None or tool.fresh:
                    self.stop(kept.pop(tool.name))
        self.stop_all()
        return {name: values for name, values in took.items() if name not in self.reasons}

    def at_rest(self):
        """By tool: private memory after some idle seconds, then wake-ups and CPU in a window of idleness."""
        instances = [self.start(tool) for tool in self.tools]
        for instance in instances:
            instance.started()
        progress(f"idle, {IDLE_BEFORE_READING + self.idle:.0f} s")
        time.sleep(IDLE_BEFORE_READING)
        memory = {i.tool.name: i.private_kb() for i in instances}
        before, began = [(i.wakeups(), i.cpu_ns()) for i in instances], time.monotonic()
        time.sleep(self.idle)
        after, window = [(i.wakeups(), i.cpu_ns()) for i in instances], time.monotonic() - began
        self.stop_all()
        wakeups, cpu = {}, {}
        for instance, (w0, c0), (w1, c1) in zip(instances, before, after):
            wakeups[instance.tool.name] = (w1 - w0) * 60 / window
            cpu[instance.tool.name] = (c1 - c0) / 1e9 / window * 100
        return memory, wakeups, cpu


def shuffled(things):
    return random.sample(things, len(things))


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def p95(values):
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.95))]


def spread(values, ours):
    if not values:
        return "-"
    middle = statistics.median(values)
    return f"{middle:.2f} / {p95(values):.2f}{ratio(middle, statistics.median(ours) if ours else 0)}"


def ratio(value, ours):
    if ours <= 0 or value <= 0:
        return ""
    times = value / ours
    return f" ({times:.0f}×)" if times >= 10 else f" ({times:.2g}×)"


def table(bench, added, restarts, memory, wakeups, cpu):
    ours = "hbsidecar"
    rows = [
        "| | start-up added, ms | kill -9 → next first instruction, ms | private memory, kB | wake-ups/min | CPU, % of a core |",
        "|---|---|---|---|---|---|",
    ]
    for tool in bench.tools:
        name = tool.name
        restart = spread(restarts.get(name), restarts.get(ours))
        reason = tool.no_restart or bench.reasons.get(name)
        rows.append(
            f"| {name}{version_of(tool, bench.environment)} | {spread(added[name], added[ours])} "
            f"| {restart}{f' {reason}' if reason else ''} | {memory[name]}{ratio(memory[name], memory[ours])} "
            f"| {wakeups[name]:.0f}{ratio(wakeups[name], wakeups[ours])} | {cpu[name]:.4f} |"
        )
    return "\n".join(rows)


def machine():
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())[1]
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), {int(memory) / 1048576:.0f} GiB memory, "
        f"Linux {'.'.join(platform.release().split('.')[:2])}, load {os.getloadavg()[0]:.1f}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tools", type=Path, required=True, help="directory with agent, launch and pm2")
    parser.add_argument("--hbsidecar", required=True)
    parser.add_argument("--rounds", type=int, default=40, help="of start-up and of restart (default 40)")
    parser.add_argument("--idle", type=float, default=60, help="seconds of the idle window (default 60)")
    args = parser.parse_args()
    described = machine()
    with tempfile.TemporaryDirectory(prefix="hb-bench-") as directory:
        server, url = redis_server(directory)
        bench = Bench(args, directory, url)
        try:
            added = bench.startup()
            restarts = bench.restart()
            at_rest = bench.at_rest()
        finally:
            bench.stop_all()
            server.terminate()
            server.wait()
    progress("")
    print(table(bench, added, restarts, *at_rest))
    print(
        f"\nMedian / 95th percentile of {args.rounds} rounds, tools interleaved in random order; in brackets the ratio to "
        f"hbsidecar. Memory after {IDLE_BEFORE_READING:.0f} s, wake-ups (voluntary context switches) and CPU over "
        f"{args.idle:.0f} s with one idle agent. hbsidecar {' '.join(HBSIDECAR_FLAGS)}, with a local Redis unless said.\n"
        f"Machine: {described}."
    )


if __name__ == "__main__":
    main()
