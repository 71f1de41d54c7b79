"""From kill -9 to an agent that works again, in one run: each rung of hb beside docker's restart policy, systemd and PM2.

"Works again" is the first instruction of the next incarnation. Rounds go through all rows in an order of their own each
time, so that noise of the machine falls on all alike. Every row has a store, a monitor and an agent of its own, so that no
budget of an earlier round counts. Nothing but the standard library is needed; containers and their systemd need root.
"""

import argparse
import json
import os
import platform
import random
import re
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

INTERVAL = "1s"
# Supervisors punish an agent that lived for less than a second; none here does. Docker forgets its back-off after 10 s.
LIVED_BEFORE_KILL = 2.0
WITHIN = 60.0
IMAGE = "hb-bench-recovery"
ID = "bench"


class Bench:
    """What all rows share: programs, the engine, a machine with systemd, and a directory that every container sees."""

    def __init__(self, args, base):
        self.agent = str(args.tools / "agent")
        self.pm2 = str(args.tools / "node_modules/.bin/pm2-runtime")
        self.programs = args.programs
        self.repository = Path(__file__).resolve().parents[2]
        self.base = base
        self.ending = []
        ours = re.compile(r"HB_|AGENT_ID$|REDIS_URL$|NOTIFY_SOCKET$|WATCHDOG_|PM2_|BENCH_|DOCKER_HOST$|DBUS_")
        self.environment = {k: v for k, v in os.environ.items() if not ours.match(k)}
        self.engine()
        self.image()

    def engine(self):
        """The engine that answers, else one of our own, which ends with this program."""
        if "DOCKER_HOST" in os.environ:
            self.environment["DOCKER_HOST"] = os.environ["DOCKER_HOST"]
        if self.docker("version", check=False) is not None:
            return
        place = self.base / "engine"
        place.mkdir()
        guard = subprocess.Popen(
            ["setsid", str(self.repository / "tests/support/docker-engine"), str(place)],
            stdin=subprocess.PIPE,
            stdout=(place.parent / "engine.log").open("wb"),
            stderr=subprocess.STDOUT,
        )
        self.ending.append(lambda: (guard.stdin.close(), guard.wait(60)))
        self.environment["DOCKER_HOST"] = f"unix://{place}/docker.sock"
        wait("a Docker engine (as root; `make test-deps` installs one)", lambda: self.docker("version", check=False) is not None)

    def docker(self, *arguments, check=True):
        done = subprocess.run(["docker", *arguments], env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.strip()
        if check:
            sys.exit(f"bench-recovery: docker {' '.join(arguments)}: {done.stderr.strip()}")
        return None

    def image(self):
        """A root with links into /usr, which is this machine's own; units for the machine with systemd."""
        root = self.base / "root"
        for name in ["proc", "sys", "dev", "run", "tmp", "var", "root", "usr", "opt", "etc/systemd/system"]:
            (root / name).mkdir(parents=True)
        for link in ["bin", "sbin", "lib", "lib64"]:
            (root / link).symlink_to(f"usr/{link}")
        (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nmessagebus:x:100:100::/:/usr/sbin/nologin\n")
        (root / "etc/group").write_text("root:x:0:\nmessagebus:x:100:\n")
        (root / "etc/machine-id").write_text("")
        units = root / "etc/systemd/system"
        (units / "bench.target").write_text("[Unit]\nRequires=dbus.socket\nAfter=dbus.socket\n")
        for name, command, more in [
            ("hb", self.wrapped(self.base / "hb"), ""),
            ("plain", [self.agent], "Restart=always\n"),
        ]:
            (self.base / name).mkdir()
            record = self.base / name / "record"
            (units / f"{name}.service").write_text(
                f"[Service]\nEnvironment=BENCH_RECORD={record}\nExecStart={' '.join(command)}\n{more}"
            )
        tar = self.base / "image.tar"
        subprocess.run(["tar", "-C", str(root), "-cf", str(tar), "."], check=True)
        self.docker("import", str(tar), IMAGE)
        self.ending.append(lambda: self.docker("rmi", "-f", IMAGE, check=False))

    def wrapped(self, place):
        """The agent under hbsidecar, whose store is in this directory."""
        store = f"redis+unix://{place}/redis.sock"
        own = [str(self.programs / "hbsidecar"), "-q", "--redis-url", store, "--id", ID, "--interval", INTERVAL]
        return [*own, "--", self.agent]

    def mounts(self):
        places = [f"{self.base}:{self.base}", "/usr:/usr:ro"]
        places += [f"{place}:{place}:ro" for place in {Path(self.agent).parent, self.programs}]
        return [word for place in places for word in ("-v", place)]

    def container(self, flags, command):
        identity = self.docker("run", "-d", "--network", "none", *self.mounts(), *flags, IMAGE, *command)
        self.ending.append(lambda: self.docker("rm", "-f", identity, check=False))
        return identity

    def machine(self):
        """Boots the machine with systemd once; its bus is reached from outside."""
        bus = self.base / "bus"
        bus.mkdir()
        # hbmonitor takes it for its own host, whose bus it may use.
        flags = [f"--hostname={platform.node()}", "--cap-add=SYS_ADMIN", "--cap-add=SYS_PTRACE", "--cgroupns=host"]
        flags += ["--security-opt=seccomp=unconfined", "--security-opt=apparmor=unconfined", "--tmpfs=/run", "--tmpfs=/tmp"]
        flags += ["--stop-signal=SIGRTMIN+3", "--env=container=docker", "-v", "/sys/fs/cgroup:/sys/fs/cgroup:rw"]
        flags += ["-v", f"{bus}:/run/dbus"]
        self.systemd = self.container(flags, ["/lib/systemd/systemd", "--unit=bench.target"])
        self.bus = f"unix:path={bus}/system_bus_socket"
        wait("systemd has booted", lambda: self.systemctl("is-active", "bench.target") == "active")

    def systemctl(self, *arguments):
        return self.docker("exec", self.systemd, "systemctl", *arguments, check=False)

    def end(self):
        for end in reversed(self.ending):
            end()


class Case:
    """One agent in a directory of its own, with what was started for it."""

    def __init__(self, bench, place=None):
        self.bench = bench
        self.dir = place or Path(tempfile.mkdtemp(prefix="c", dir=bench.base))
        self.record = self.dir / "record"
        os.mkfifo(self.record)
        self.pipe = os.open(self.record, os.O_RDWR | os.O_NONBLOCK)
        self.buffer = b""
        self.running = []
        self.containers = []
        self.http = None

    def start(self, command, **more):
        environment = {**self.bench.environment, "BENCH_RECORD": self.record, "HOME": self.dir}
        environment |= {"PM2_HOME": self.dir / "pm2", "XDG_RUNTIME_DIR": self.dir, "XDG_STATE_HOME": self.dir, **more}
        with (self.dir / f"log{len(self.running)}").open("wb") as log:
            process = subprocess.Popen(
                [str(word) for word in command],
                env={k: str(v) for k, v in environment.items()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.running.append(process)
        return process

    def redis(self):
        socket = self.dir / "redis.sock"
        self.start(["redis-server", "--port", 0, "--save", "", "--unixsocket", socket, "--dir", self.dir])
        wait("redis-server answers", socket.exists)

    def monitor(self, **more):
        """hbmonitor, once it shows the agent as healthy."""
        url = f"redis+unix://{self.dir}/redis.sock"
        program = self.bench.programs / "hbmonitor"
        self.start([program, "--redis-url", url, "--listen", "127.0.0.1:0"], **more)
        log = self.dir / f"log{len(self.running) - 1}"
        wait("hbmonitor listens", lambda: b"http://" in log.read_bytes())
        self.http = re.search(rb"http://[\d.:]+", log.read_bytes())[0].decode()
        wait("the agent is healthy", lambda: self.get(f"/health/agents/{ID}").get("state") == "healthy")

    def get(self, path):
        try:
            with urllib.request.urlopen(self.http + path, timeout=5) as answer:
                return json.load(answer)
        except urllib.error.HTTPError:
            return {}

    def container(self, flags, command):
        flags = ["-e", f"BENCH_RECORD={self.record}", *flags]
        identity = self.bench.container(flags, command)
        self.containers.append(identity)
        return identity

    def first(self, what):
        """Waits for the next first instruction of an agent: nanoseconds."""
        deadline = time.monotonic() + WITHIN
        while time.monotonic() < deadline:
            while b"\n" in self.buffer:
                line, self.buffer = self.buffer.split(b"\n", 1)
                word, _, at = line.decode().split()
                if word == "first":
                    return int(at)
            if select.select([self.pipe], [], [], 0.05)[0]:
                self.buffer += os.read(self.pipe, 4096)
        logs = "".join(log.read_text(errors="replace")[-300:] for log in sorted(self.dir.glob("log*")))
        sys.exit(f"bench-recovery: {what}: no agent started within {WITHIN:.0f} s: {logs}")

    def processes(self):
        """Every process whose records come here, wherever it runs: the agent, and its supervisor where that has the variable."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if f"BENCH_RECORD={self.record}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = Path(os.readlink(entry / "exe")).name
            except OSError:
                pass
        return found

    def end(self):
        for identity in self.containers:
            self.bench.docker("rm", "-f", identity, check=False)
        for process in reversed(self.running):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pid, name in self.processes().items():
            if name == "agent":
                os.kill(pid, signal.SIGKILL)
        os.close(self.pipe)
        if self.dir.name.startswith("c"):
            shutil.rmtree(self.dir, ignore_errors=True)
        else:
            self.record.unlink()


def wait(what, condition):
    deadline = time.monotonic() + WITHIN
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"bench-recovery: waited {WITHIN:.0f} s until {what}")
        time.sleep(0.05)


def kill(case, *names):
    """SIGKILL to the processes of these names, at this moment."""
    victims = [pid for pid, name in case.processes().items() if name in names]
    time.sleep(0.01)
    at = time.monotonic_ns()
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    return at


def by_sidecar(bench):
    case = Case(bench)
    case.redis()
    case.start(bench.wrapped(case.dir))
    case.first("under hbsidecar")
    return case, lambda: kill(case, "agent")


def by_order(bench):
    case = Case(bench)
    case.redis()
    case.start(bench.wrapped(case.dir))
    case.first("under hbsidecar")
    case.monitor()
    token = next(case.dir.rglob("token")).read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"{case.http}/v1/agents/{ID}/restart", b"", headers, method="POST")

    def order():
        at = time.monotonic_ns()
        urllib.request.urlopen(request, timeout=10).close()
        return at

    return case, order


def in_a_container(bench):
    case = Case(bench)
    case.redis()
    identity = case.container([], bench.wrapped(case.dir))
    case.first("in a container")
    case.monitor()
    return case, identity


def by_docker(bench):
    case, _ = in_a_container(bench)
    return case, lambda: kill(case, "hbsidecar", "agent")


def by_replacement(bench):
    case, identity = in_a_container(bench)
    case.containers.append(f"{ID}-replacement-1")

    def remove():
        at = time.monotonic_ns()
        bench.docker("rm", "-f", identity)
        return at

    return case, remove


def by_systemd_rung(bench):
    case = Case(bench, bench.base / "hb")
    case.redis()
    bench.systemctl("restart", "hb.service")
    case.first("in a unit")
    case.monitor(DBUS_SYSTEM_BUS_ADDRESS=bench.bus)
    return case, lambda: kill(case, "hbsidecar", "agent")


def docker_policy(bench):
    case = Case(bench)
    case.container(["--restart", "always"], [bench.agent])
    case.first("in a container")
    return case, lambda: kill(case, "agent")


def systemd_restart(bench):
    case = Case(bench, bench.base / "plain")
    bench.systemctl("restart", "plain.service")
    case.first("in a unit")
    return case, lambda: kill(case, "agent")


def pm2(bench):
    case = Case(bench)
    case.start([bench.pm2, "start", bench.agent, "--interpreter", "none"])
    case.first("under PM2")
    return case, lambda: kill(case, "agent")


ROWS = [
    ("hbsidecar itself", "the agent", by_sidecar),
    ("hbmonitor, an order to the sidecar", "nothing: `POST …/restart`", by_order),
    ("hbmonitor, rung `docker`", "agent and sidecar, with their container", by_docker),
    ("hbmonitor, rung `replace`", "the same, and the container is removed", by_replacement),
    ("hbmonitor, rung `systemd`", "agent and sidecar of a unit without `Restart=`", by_systemd_rung),
    ("docker, `--restart always`", "the agent", docker_policy),
    ("systemd, `Restart=always`", "the agent", systemd_restart),
    ("PM2", "the agent", pm2),
]


def measured(bench, begin):
    """From the kill to the next first instruction, and how much of it was over when hbmonitor acted; seconds."""
    case, strike = begin(bench)
    try:
        time.sleep(LIVED_BEFORE_KILL)
        wall = time.time()
        struck = strike()
        took = (case.first("after the kill") - struck) / 1e9
        acted = None
        if case.http:
            incidents = case.get(f"/v1/incidents?agent={ID}").get("incidents") or [{}]
            rungs = incidents[0].get("rungs") or []
            acted = rungs[-1]["startedAt"] / 1000 - wall if rungs else None
        return took, acted
    finally:
        case.end()


def shown(seconds):
    return f"{seconds * 1000:.1f} ms" if seconds < 0.1 else f"{seconds:.2f} s"


def p95(values):
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.95))]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tools", type=Path, required=True, help="directory with agent and pm2")
    parser.add_argument("--programs", type=Path, required=True, help="directory with hbsidecar and hbmonitor")
    parser.add_argument("--rounds", type=int, default=10, help="kills of each row (default 10)")
    parser.add_argument("--rows", default="", help="only rows whose name has this text")
    args = parser.parse_args()
    rows = [row for row in ROWS if args.rows in row[0]]
    loads = []
    base = Path(tempfile.mkdtemp(prefix="hb-bench-", dir="/var/tmp"))
    bench = Bench(args, base)
    took = {name: [] for name, _, _ in rows}
    acted = {name: [] for name, _, _ in rows}
    try:
        bench.machine()
        for number in range(args.rounds):
            for name, _, begin in random.sample(rows, len(rows)):
                if sys.stderr.isatty():
                    print(f"\r\033[Kround {number + 1} of {args.rounds}: {name}", end="", file=sys.stderr, flush=True)
                total, before = measured(bench, begin)
                took[name].append(total)
                acted[name] += [before] if before is not None else []
                loads.append(os.getloadavg()[0])
    finally:
        bench.end()
        shutil.rmtree(base, ignore_errors=True)
    print("\n| brought back by | killed with SIGKILL | median | 95th percentile | of it until hbmonitor acts |\n|---|---|---|---|---|")
    for name, what, _ in rows:
        until = shown(statistics.median(acted[name])) if acted[name] else "–"
        print(f"| {name} | {what} | {shown(statistics.median(took[name]))} | {shown(p95(took[name]))} | {until} |")
    memory = int(re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())[1]) / 1048576
    kernel = ".".join(platform.release().split(".")[:2])
    print(
        f"\n{args.rounds} kills of each row in random order, agents with an interval of {INTERVAL}; {os.cpu_count()} cores "
        f"({platform.machine()}), {memory:.0f} GiB memory, Linux {kernel}, load {min(loads):.0f} to {max(loads):.0f}."
    )


if __name__ == "__main__":
    main()
