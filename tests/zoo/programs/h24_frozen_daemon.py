"""An agent whose command-line tool waits for a daemon that is stopped, like `docker ps` on a frozen dockerd."""
import os
import subprocess
import sys

import zoo

TOOL = """
import socket, sys
daemon = socket.socket(socket.AF_UNIX)
daemon.connect(sys.argv[1])
daemon.sendall(b"list\\n")
print(daemon.recv(4096))
"""
tool = subprocess.Popen([sys.executable, "-c", TOOL, os.path.join(os.environ["ZOO_DIR"], "daemon.sock")])
zoo.mark(child=tool.pid)
tool.wait()
