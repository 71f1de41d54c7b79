"""A tool server over pipes is killed after it took a request; the reader thread ends, the caller waits on."""
import json
import queue
import subprocess
import sys
import threading

import zoo

SERVER = """
import os, signal, sys
for line in sys.stdin:
    os.kill(os.getpid(), signal.SIGKILL)
"""
answers = queue.Queue()


def read(server):
    for line in server.stdout:
        answers.put(json.loads(line))


zoo.say('task="call tool search" state=working')
server = subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
reader = threading.Thread(target=read, args=(server,))
reader.start()
server.stdin.write(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call"}) + "\n")
server.stdin.flush()
reader.join()
zoo.mark(child=server.pid)
answers.get()
