"""daemon.py SOCKET [SECONDS OUT]: answers each request after so many seconds of work on the file OUT; without, it stops itself."""
import os
import signal
import socket
import sys
import time

listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print("listening", flush=True)
if len(sys.argv) == 2:
    os.kill(os.getpid(), signal.SIGSTOP)
while True:
    client, _ = listener.accept()
    client.recv(4096)
    until = time.monotonic() + float(sys.argv[2])
    with open(sys.argv[3], "a") as out:
        while time.monotonic() < until:
            out.write(f"{sum(i * i for i in range(50_000))}\n")
            out.flush()
            time.sleep(0.1)
    client.sendall(b"done\n")
    client.close()
