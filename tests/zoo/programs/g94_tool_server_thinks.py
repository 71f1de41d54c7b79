"""Calls a tool server over its input and output; the server also listens, and asks the model for nine minutes."""
import socket
import subprocess
import sys

import zoo


def serve():
    clients = socket.create_server(("127.0.0.1", 0))
    for call in sys.stdin:
        zoo.connect(f"/think?s={zoo.scaled(540)}").recv(4096)
        print(call, end="", flush=True)
    clients.close()


if len(sys.argv) > 1:
    serve()
    sys.exit()
zoo.say('task="summarise the page"')
server = subprocess.Popen([sys.executable, __file__, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
server.stdin.write(b"{}\n")
server.stdin.flush()
zoo.mark()
server.stdout.readline()
