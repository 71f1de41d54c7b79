"""Starts the same tool again and again, in a program of its own that owes work. MODE:

short      it asks for the same file and lives for a millisecond or two
elsewhere  each time in another directory: a test runner
shells     steps of a shell that differ, and end alike
"""
import os
import subprocess
import sys
import time

import zoo

MODE = sys.argv[1]
zoo.say("task=repair")
zoo.mark()
n = 0
while True:
    n += 1
    if MODE == "short":
        subprocess.run(["ls", "missing"], stderr=subprocess.DEVNULL, check=False)
        time.sleep(0.2)
    elif MODE == "elsewhere":
        os.makedirs(f"case-{n}", exist_ok=True)
        subprocess.run(["timeout", "0.3", "tail", "-f", "/dev/null"], cwd=f"case-{n}", check=False)
    else:
        subprocess.run(["bash", "-c", f"test {n} -gt 0; sleep 0.3"], check=False)
