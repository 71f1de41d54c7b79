"""quiet_peer.py DIR: a queue, a chat and a feed on one port, told in DIR/port; each says little and seldom.

BRPOP key SECONDS   nothing, after that time         GET /updates?s=  an empty list, after that time
GET /feed?s=        a ping each s seconds
"""
import os
import socket
import sys
import threading
import time

HEAD = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 24\r\n\r\n"


def serve(client):
    try:
        with client:
            while words := client.recv(4096).split():
                if words[0] == b"BRPOP":
                    time.sleep(float(words[2]))
                    client.sendall(b"*-1\r\n")
                elif b"/updates" in words[1]:
                    time.sleep(float(words[1].split(b"=")[1]))
                    client.sendall((HEAD + '{"ok":true,"result":[]} ').encode())
                else:
                    client.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
                    while True:
                        time.sleep(float(words[1].split(b"=")[1]))
                        client.sendall(b"\x89\x04ping")
                        client.recv(64)
    except OSError:
        pass  # the client left


listener = socket.create_server(("127.0.0.1", 0))
path = os.path.join(sys.argv[1], "port")
with open(path + ".new", "w") as file:
    file.write(str(listener.getsockname()[1]))
os.rename(path + ".new", path)
print("listening", flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
