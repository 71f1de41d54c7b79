"""A tool that spins: no data, no memory, no end. The agent waits for its output."""
import subprocess
import sys

import zoo

zoo.mark()
subprocess.run([sys.executable, "-c", "while True: pass"], stdout=subprocess.PIPE, check=False)
