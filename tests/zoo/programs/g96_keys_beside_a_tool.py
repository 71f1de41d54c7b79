"""Reads keys in a thread of its own while it waits for a tool."""
import subprocess
import sys
import threading

import zoo

zoo.say('task="run the checks"')
threading.Thread(target=sys.stdin.readline, daemon=True).start()
tool = subprocess.Popen(["sleep", str(zoo.scaled(1200))])
zoo.mark()
tool.wait()
