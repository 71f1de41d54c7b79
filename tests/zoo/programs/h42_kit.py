"""A program of somebody's own that gives an agent one turn and awaits its answer."""
import os
import subprocess
import sys

agent = os.path.join(os.path.dirname(os.path.abspath(__file__)), "claude")
child = subprocess.Popen([sys.executable, agent, "--input-format", "stream-json"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdin.write(b'{"type":"user","message":"say hello"}\n')
child.stdin.flush()
child.stdout.read()
