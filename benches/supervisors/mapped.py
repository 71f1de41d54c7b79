#!/usr/bin/env python3
"""Processor time of one beat: beside an agent that keeps 10 GB in memory, and beside one that keeps nothing.

Usage: mapped.py HBSIDECAR. Needs redis-server and 11 GB of free memory."""
import os
import socket
import subprocess
import sys
import tempfile
import time

BEATS = 40  # one a second
SETTLE = 20  # seconds until the large one has touched its pages
LARGE = (
    "import mmap, time\n"
    "pages = mmap.mmap(-1, 10 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\n"
    "pages.madvise(mmap.MADV_NOHUGEPAGE)\n"  # pages of 4 kB: the most that the kernel has to count
    "for at in range(0, 10 << 30, 4096): pages[at] = 1\n"
    "time.sleep(1e6)"
)
SMALL = "import time; time.sleep(1e6)"


def processor_ms(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def a_beat(hbsidecar, url, directory, name, program):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HB_")}
    environment["XDG_RUNTIME_DIR"] = directory
    command = [hbsidecar, "--redis-url", url, "--interval", "1s", "--id", name, "--", sys.executable, "-c", program]
    sidecar = subprocess.Popen(command, env=environment)
    try:
        time.sleep(SETTLE)
        before = processor_ms(sidecar.pid)
        time.sleep(BEATS)
        spent = (processor_ms(sidecar.pid) - before) / BEATS
        shown = subprocess.run(
            ["redis-cli", "-u", url, "hget", f"agent:{name}", "memoryMB"], capture_output=True, text=True, check=True
        )
        return spent, float(shown.stdout)
    finally:
        sidecar.terminate()
        sidecar.wait()


def main():
    hbsidecar = sys.argv[1]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        server = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", directory]
        redis = subprocess.Popen(server, stdout=subprocess.DEVNULL)
        try:
            time.sleep(1)
            url = f"redis://127.0.0.1:{port}"
            small, _ = a_beat(hbsidecar, url, directory, "small", SMALL)
            large, memory = a_beat(hbsidecar, url, directory, "large", LARGE)
        finally:
            redis.terminate()
            redis.wait()
    if memory < 10_000:
        sys.exit(f"the large agent keeps {memory} MB, not 10 GB: not measured")
    print(f"one beat: {small:.2f} ms; of an agent that keeps {memory / 1000:.1f} GB: {large:.2f} ms, {large / max(small, 0.01):.1f} times")


main()
