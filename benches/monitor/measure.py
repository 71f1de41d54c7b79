"""hbmonitor beside the seed's monitor in Node and a subscriber that discards, in one run: processor time a beat, memory, HTTP.

Redis and the generator share one core, what is measured has another of its own. Prints Markdown tables with ratios.
Nothing but the standard library is needed.
"""

import argparse
import os
import platform
import re
import signal
import socket
import urllib.request
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
FEEDERS, MEASURED = "0", "1"  # cores
# With --first: before all that other users run, the one who asks before the one who answers.
FIRST = {"asks": ["chrt", "-f", "10"], "answers": ["chrt", "-f", "5"], "feeds": ["nice", "-n", "-10"]}


def pinned(role, core, command, first):
    return [*(FIRST[role] if first else []), "taskset", "-c", core, *command]
WITHIN = 60.0
PAGES, LISTINGS = 40, 7
# One request each 60 ms: enough of them for a 99th percentile.
LOADED_PAGES, LOADED_RATE = 200, 50_000
LOADED_PATHS = "/health/agents?limit=100", "/health/agents?limit=100&state=healthy&type=writer", "/health/agents/agent-000001", "/v1/status", "/"


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def until(condition, what):
    deadline = time.monotonic() + WITHIN
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"bench-monitor: not within {WITHIN:.0f} s: {what}")
        time.sleep(0.05)


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def cpu_ns(pid):
    """Of all threads; those that end while it is measured are not counted, and none does."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir())


def resident_kb(pid):
    return int(re.search(r"^VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.M)[1])


class Peer:
    """A subscriber under measurement."""

    def __init__(self, name, command, port=None, is_ours=False):
        self.name, self.command, self.port, self.is_ours = name, command, port, is_ours

    def start(self, redis, directory, first=False):
        environment = {k: v for k, v in os.environ.items() if not re.match(r"HB_|REDIS_URL|AGENT_", k)}
        environment |= {"XDG_RUNTIME_DIR": directory, "XDG_STATE_HOME": directory, "HOME": directory}
        log = open(Path(directory) / "log", "wb")
        self.process = subprocess.Popen(
            pinned("answers", MEASURED, self.command(redis.port, self.port), first),
            env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
        )
        until(lambda: redis.subscribers() == 1, f"{self.name} subscribes; its log: {log.name}")
        if self.port:
            until(lambda: answers(self.port), f"{self.name} answers")
        time.sleep(0.5)

    def received(self):
        """Beats so far; `None` while a peer runs that only counts at its end."""
        if not self.is_ours:
            return None
        text = urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics").read().decode()
        return sum(int(n) for n in re.findall(r"^hb_beats_total\{.*\} (\d+)", text, re.M))

    def stop(self):
        """Ends the peer; returns the beats that it says it received."""
        self.process.send_signal(signal.SIGTERM)
        out = self.process.communicate(timeout=WITHIN)[0].decode()
        found = re.search(r"^beats (\d+)", out, re.M)
        return int(found[1]) if found else None


class Redis:
    def __init__(self, directory, first=False):
        self.port = free_port()
        limits = ["--client-output-buffer-limit", "pubsub 0 0 0"]
        self.process = subprocess.Popen(
            pinned("feeds", FEEDERS, ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                                      "--appendonly", "no", "--dir", directory, *limits], first),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )
        until(lambda: answers(self.port), "redis-server starts")

    def subscribers(self):
        return int(re.search(r"\(integer\) (\d+)", self.ask("PUBSUB NUMSUB heartbeats"))[1])

    def waiting(self):
        """Bytes that Redis has not sent to its subscribers yet."""
        return sum(int(n) for n in re.findall(r" omem=(\d+)", self.ask("CLIENT LIST TYPE pubsub")))

    def ask(self, command):
        done = subprocess.run(
            ["redis-cli", "--no-raw", "-p", str(self.port), *command.split()], stdout=subprocess.PIPE, text=True, check=True)
        return done.stdout

    def stop(self):
        self.process.terminate()
        self.process.wait()


def publish(args, redis, shape, agents, rate, peer):
    """The peer's processor time in ns, beats published, beats a second, and for how long the peer went on afterwards."""
    command = ["taskset", "-c", FEEDERS, str(args.beats), "publish", str(redis.port), shape, str(agents), str(rate), str(args.seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as generator:
        if generator.stdout.readline() != "start\n":
            sys.exit("bench-monitor: the generator ended early")
        before = cpu_ns(peer.process.pid)
        line = generator.stdout.readline()
        ended = time.monotonic()
        until(lambda: redis.waiting() == 0, f"{peer.name} reads what Redis has for it")
        behind = time.monotonic() - ended
        time.sleep(0.5)  # what it has read and not applied yet
        spent = cpu_ns(peer.process.pid) - before
    total, measured, seconds = re.match(r"published (\d+) measured (\d+) seconds ([\d.]+)", line).groups()
    return spent, int(total), int(measured) / float(seconds), behind


def run(args, peer, shape, agents, rate):
    """One peer, one load, a Redis of its own."""
    with tempfile.TemporaryDirectory() as directory:
        redis = Redis(directory)
        try:
            peer.start(redis, directory)
            before = resident_kb(peer.process.pid)
            spent, total, per_second, behind = publish(args, redis, shape, agents, rate, peer)
            received = peer.received()
            memory = (resident_kb(peer.process.pid) - before) * 1024 / agents
            at_end = peer.stop()
            received = at_end if received is None else received
            micros = spent / 1000 / max(received - agents, 1)  # each agent's first beat came before
            return {"micros": micros, "rate": per_second, "received": received / total, "bytes": memory, "behind": behind}
        finally:
            peer.process.kill()
            redis.stop()


def fetch(args, peer, path, count, first=False):
    """Milliseconds to the last byte (median, 99th percentile), bytes, and milliseconds of the peer's processor time each."""
    before = cpu_ns(peer.process.pid)
    command = pinned("asks", FEEDERS, [str(args.beats), "fetch", str(peer.port), path, str(count)], first)
    line = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    median, p99, size = re.match(r"median ([\d.]+) p99 ([\d.]+) bytes (\d+)", line).groups()
    return float(median), float(p99), int(size), (cpu_ns(peer.process.pid) - before) / 1e6 / count


def http_times(args, peer, agents):
    with tempfile.TemporaryDirectory() as directory:
        redis = Redis(directory)
        try:
            peer.start(redis, directory)
            publish(args, redis, "varying", agents, 20000, peer)
            found = fetch(args, peer, "/health/agents?limit=100", PAGES), fetch(args, peer, "/health/agents", LISTINGS)
            peer.stop()
            return found
        finally:
            peer.process.kill()
            redis.stop()


def loaded_times(args, peer, agents):
    """For each path the median, the 99th percentile and the bytes, while beats come in."""
    seconds = len(LOADED_PATHS) * LOADED_PAGES * 0.1 + 20
    with tempfile.TemporaryDirectory() as directory:
        redis = Redis(directory, args.first)
        load = [str(args.beats), "publish", str(redis.port), "varying", str(agents), str(LOADED_RATE), str(seconds)]
        command = pinned("feeds", FEEDERS, load, args.first)
        try:
            peer.start(redis, directory, args.first)
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as generator:
                if generator.stdout.readline() != "start\n":
                    sys.exit("bench-monitor: the generator ended early")
                until(lambda: redis.waiting() == 0, f"{peer.name} reads the first beats")
                before, began = peer.received(), time.monotonic()
                found = [(path, *fetch(args, peer, path, LOADED_PAGES, args.first)[:3]) for path in LOADED_PATHS]
                rate = (peer.received() - before) / (time.monotonic() - began)
                generator.kill()
            return rate, found
        finally:
            peer.process.kill()
            redis.stop()


def peers(args):
    found = []
    for monitor in args.monitor:
        name, _, path = monitor.rpartition("=")
        found.append(Peer(name or "hbmonitor", lambda redis, port, path=path: [
            path, "--redis-url", f"redis://127.0.0.1:{redis}", "--listen", f"127.0.0.1:{port}", "--quiet"], free_port(), True))
    found.append(Peer("the seed in Node", lambda redis, port: [
        "env", f"BENCH_NODE_MODULES={args.node_modules}", "node", str(HERE / "seed_monitor.mjs"), f"redis://127.0.0.1:{redis}", str(port)], free_port()))
    found.append(Peer("discards only", lambda redis, _: [str(args.beats), "discard", str(redis), "0"]))
    found.append(Peer("discards only, waits 2 ms", lambda redis, _: [str(args.beats), "discard", str(redis), "2"]))
    return [peer for peer in found if not args.only or any(word in peer.name for word in args.only)]


def load_table(args, shape, agents):
    rates = [int(rate) for rate in args.rates.split(",")]
    names = ["as fast as Redis" if rate == 0 else f"{rate // 1000}k/s" for rate in rates]
    print(f"\n{agents} agents, {shape} beats: µs of processor time a beat (ratio to the seed in Node)\n")
    print("| | " + " | ".join(names) + " | bytes an agent |\n|---|" + "---|" * (len(rates) + 1), flush=True)
    rows = {peer.name: [run(args, peer, shape, agents, rate) for rate in rates] for peer in peers(args)}
    node = rows.get("the seed in Node")
    for name, results in rows.items():
        cells = []
        for i, result in enumerate(results):
            ratio = f" ({result['micros'] / node[i]['micros']:.2f}×)" if node else ""
            at = f" at {result['rate'] / 1000:.0f}k/s" if rates[i] == 0 else ""
            late = f", {result['behind']:.1f} s behind" if result["behind"] > 0.3 else ""
            lost = "" if result["received"] > 0.9999 else f", {result['received']:.0%} received"
            cells.append(f"{result['micros']:.2f}{ratio}{at}{late}{lost}")
        print(f"| {name} | " + " | ".join(cells) + f" | {results[0]['bytes']:.0f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--beats", type=Path, required=True, help="the program of beats.c")
    parser.add_argument("--node-modules", type=Path, required=True, help="where node finds the package redis")
    parser.add_argument("--monitor", action="append", required=True, help="[NAME=]PATH of an hbmonitor; several stand beside each other")
    parser.add_argument("--agents", default="1000,100000")
    parser.add_argument("--shapes", default="same,varying,foreign,seed")
    parser.add_argument("--rates", default="20000,80000,0", help="beats a second; 0 is as fast as Redis takes them")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--only", action="append", help="part of a peer's name")
    parser.add_argument("--no-http", action="store_true")
    parser.add_argument("--http-only", action="store_true", help="only the answers while beats come in")
    parser.add_argument("--first", action="store_true", help="these run before all else on the machine (chrt, as root): for answers on a busy one")
    args = parser.parse_args()
    print(f"{os.cpu_count()} cores, Linux {platform.release()}, load {os.getloadavg()[0]:.1f} at the start")
    agents = max(map(int, args.agents.split(",")))
    if args.http_only:
        return loaded_tables(args, agents)
    for each in map(int, args.agents.split(",")):
        for shape in args.shapes.split(","):
            load_table(args, shape, each)
    if args.no_http:
        return
    print(f"\n{agents} agents over HTTP: milliseconds to the last byte (of the monitor's processor time)\n")
    print("| | `?limit=100` | all | all, MB |\n|---|---|---|---|", flush=True)
    for peer in peers(args):
        if peer.port:
            (page, _, _, page_cpu), (whole, _, size, whole_cpu) = http_times(args, peer, agents)
            print(f"| {peer.name} | {page:.2f} ({page_cpu:.2f}) | {whole:.0f} ({whole_cpu:.0f}) | {size / 1e6:.1f} |", flush=True)
    loaded_tables(args, agents)


def loaded_tables(args, agents):
    for peer in peers(args):
        if peer.is_ours:
            rate, found = loaded_times(args, peer, agents)
            print(f"\n{peer.name}, {agents} agents while {rate / 1000:.0f}k beats/s come in: milliseconds to the last byte\n")
            print("| | median | 99 of 100 within | kB |\n|---|---|---|---|")
            for path, median, p99, size in found:
                print(f"| `{path}` | {median:.2f} | {p99:.2f} | {size / 1e3:.0f} |", flush=True)


if __name__ == "__main__":
    main()
