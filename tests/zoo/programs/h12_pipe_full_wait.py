"""Popen(stdout=PIPE).wait() on a child with 1 MB to say: each waits for the other."""
import subprocess
import sys

import zoo

child = subprocess.Popen(
    [sys.executable, "-c", "import sys; sys.stdout.write('x' * 1_000_000)"], stdout=subprocess.PIPE
)
zoo.mark(child=child.pid)
child.wait()
