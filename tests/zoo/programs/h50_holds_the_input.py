"""Gave the tool of its argument a text, forgot to close the pipe, and waits for the tool to end; the tool waits for the end of its input."""
import subprocess
import sys

import zoo

zoo.say('task="sort the names"')
tool = subprocess.Popen([sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
tool.stdin.write(b"b\na\n")
tool.stdin.flush()
zoo.mark(tool=tool.pid)
tool.wait()
