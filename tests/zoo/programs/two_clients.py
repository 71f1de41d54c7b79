"""two_clients.py DIR: two clients of the port that DIR/port will tell; each asks, waits for the answer, and asks again."""
import os
import socket
import sys
import threading
import time

print("waiting", flush=True)
path = os.path.join(sys.argv[1], "port")
while not os.path.exists(path):
    time.sleep(0.05)
port = int(open(path).read())


def ask():
    while True:
        with socket.create_connection(("127.0.0.1", port)) as server:
            server.sendall(b"GET / HTTP/1.1\r\n\r\n")
            while server.recv(4096):
                pass


for _ in range(2):
    threading.Thread(target=ask).start()
