"""How long hbmonitor takes to see that agents have died in silence: real sidecars are killed with their agents, at an interval
of 30 s, on an idle machine and while 50,000 beats a second of other agents come in.

A trial is one agent. Its silence begins with its last beat and ends with the event of `/v1/events` that reports `missing` or
`failed`; both are read from the clock of this machine. Agents that go on are watched too: each one that is not healthy counts as false.
Nothing but the standard library is needed.
"""

import argparse
import json
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from measure import FEEDERS, MEASURED, Redis, answers, free_port, pinned, until

INTERVAL = 30.0
# The bounds of docs/detection.md: a beat late by a sixth of the interval, three late; an answer of the store within 2 s.
BOUNDS = {"missing": (INTERVAL * 7 / 6, INTERVAL * 7 / 6 + 2.25), "failed": (INTERVAL * 19 / 6, INTERVAL * 19 / 6 + 2.25)}
LOADED_AGENTS, LOADED_RATE = 100_000, 50_000
# A beat that took longer to the store than others of its agent is missed so much earlier.
EARLY = 0.1
# The last victim may die an interval after the first; the failure of the last one is awaited for so long beyond its bound.
BEYOND = 20.0


class Watched:
    """hbmonitor, and what its stream of changes reports of each agent."""

    def __init__(self, args, redis, directory):
        self.port = free_port()
        self.seen, self.lost = {}, False
        environment = clean_environment(directory)
        command = [args.programs / "hbmonitor", "--redis-url", f"redis://127.0.0.1:{redis.port}", "--listen", f"127.0.0.1:{self.port}"]
        self.process = subprocess.Popen(pinned("answers", MEASURED, map(str, command), args.first), env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=open(Path(directory) / "log", "wb"))
        until(lambda: redis.subscribers() == 1 and answers(self.port), "hbmonitor subscribes")

    def follow(self):
        self.stream = urllib.request.urlopen(f"http://127.0.0.1:{self.port}/v1/events")
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        kind = None
        for line in self.stream:
            word, _, rest = line.decode().rstrip("\n").partition(": ")
            if word == "event":
                kind = rest
                self.lost |= kind == "reset"
            elif word == "data" and kind == "state":
                change = json.loads(rest)
                self.seen.setdefault(change["agentId"], []).append((change["to"], time.time()))


def clean_environment(directory):
    ours = ("HB_", "REDIS_URL", "AGENT_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return environment | {"XDG_RUNTIME_DIR": directory, "XDG_STATE_HOME": directory, "HOME": directory}


def sidecar(args, redis, directory, name):
    command = [args.programs / "hbsidecar", "--redis-url", f"redis://127.0.0.1:{redis.port}", "--id", name, "--die-with-sidecar",
               "--interval", f"{INTERVAL:.0f}s", "--quiet", "--", "sleep", "infinity"]
    return subprocess.Popen([*map(str, command)], env=clean_environment(directory), stdin=subprocess.DEVNULL)


def last_beat(redis, name):
    """Unix seconds of the beat that the store holds."""
    text = redis.ask(f"HGET agent:{name} beat").strip()
    return json.loads(json.loads(text))["timestamp"] / 1000 if text != "(nil)" else None


def trials(args, directory, loaded):
    """Seconds of silence until each state, an agent a value, and how many living agents were reported as well."""
    redis = Redis(directory, args.first)
    generator, agents = None, {}
    monitor = Watched(args, redis, directory)
    try:
        if loaded:
            seconds = 4 * INTERVAL + BOUNDS["failed"][1] + 2 * BEYOND  # starts, beats, deaths, each of an interval
            load = [str(args.beats), "publish", str(redis.port), "varying", str(LOADED_AGENTS), str(LOADED_RATE), str(seconds)]
            generator = subprocess.Popen(pinned("feeds", FEEDERS, load, args.first), stdout=subprocess.PIPE, text=True)
            if generator.stdout.readline() != "start\n":
                sys.exit("bench-detection: the generator ended early")
            until(lambda: redis.waiting() == 0, "hbmonitor reads the first beats")
        names = [f"{kind}-{number}" for number in range(args.trials) for kind in ("victim", "living")]
        for name in names:
            agents[name] = sidecar(args, redis, directory, name)
            time.sleep(INTERVAL / len(names))  # beats are spread over an interval
        until(lambda: all(last_beat(redis, name) for name in names), "each agent has beaten")
        time.sleep(INTERVAL)
        monitor.follow()
        victims = [name for name in names if name.startswith("victim")]
        beats = {}
        for name in random.sample(victims, len(victims)):
            agents[name].send_signal(signal.SIGKILL)
            agents[name].wait()
            beats[name] = last_beat(redis, name)
            time.sleep(INTERVAL / len(victims))
        deadline = time.monotonic() + BOUNDS["failed"][1] + BEYOND
        reported = lambda name: {state for state, _ in monitor.seen.get(name, [])}
        while time.monotonic() < deadline and not all("failed" in reported(name) for name in victims):
            time.sleep(0.2)
        if monitor.lost:
            sys.exit("bench-detection: the stream of changes lost its place")
        if generator and generator.poll() is not None:
            sys.exit("bench-detection: the load ended before the last trial")
        silence = {state: [min(at for to, at in monitor.seen[name] if to == state) - beats[name]
                           for name in victims if state in reported(name)] for state in BOUNDS}
        false = sum(1 for name, changes in monitor.seen.items() if name not in victims and any(to in BOUNDS for to, _ in changes))
        return silence, false
    finally:
        if args.log:
            args.log.write_bytes((Path(directory) / "log").read_bytes())
        for process in [*agents.values(), generator, monitor.process]:
            if process and process.poll() is None:
                process.kill()
                process.wait()
        redis.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--beats", type=Path, required=True, help="the program of beats.c")
    parser.add_argument("--programs", type=Path, required=True, help="the directory of hbmonitor and hbsidecar")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--log", type=Path, help="a file for what the last hbmonitor logged")
    parser.add_argument("--only", choices=["idle", "loaded"])
    parser.add_argument("--first", action="store_true", help="store, load and monitor run before all else on the machine (chrt, as root)")
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    args = parser.parse_args()
    random.seed(args.seed)
    print(f"{os.cpu_count()} cores, Linux {platform.release()}, load {os.getloadavg()[0]:.1f} at the start, --seed {args.seed}\n")
    print(f"{args.trials} trials each, seconds of silence until the state is reported\n")
    print("| | state | bounds | shortest | median | longest | within | living agents reported |\n|---|---|---|---|---|---|---|---|", flush=True)
    for load in ("idle", "loaded"):
        if args.only not in (None, load):
            continue
        with tempfile.TemporaryDirectory() as directory:
            silence, false = trials(args, directory, load == "loaded")
        what = "idle" if load == "idle" else f"{LOADED_RATE // 1000}k beats/s of {LOADED_AGENTS:,} agents"
        for state, (low, high) in BOUNDS.items():
            times = silence[state] or [float("nan")]
            within = sum(low - EARLY <= each <= high for each in times)
            print(f"| {what} | `{state}` | {low:.2f} to {high:.2f} | {min(times):.2f} | {statistics.median(times):.2f} | {max(times):.2f} "
                  f"| {within} of {args.trials} | {false} |", flush=True)


if __name__ == "__main__":
    main()
