"""A server that takes one client at a time: its handler waits for a model that thinks, and the next client waits."""
import os
import socket
import time
import urllib.request

import zoo

listener = socket.create_server(("127.0.0.1", 0))
path = os.path.join(os.environ["ZOO_DIR"], "port")
with open(path + ".new", "w") as file:
    file.write(str(listener.getsockname()[1]))
os.rename(path + ".new", path)
while True:
    client, _ = listener.accept()
    time.sleep(0.5)  # the next one has come
    zoo.mark()
    with client:
        client.recv(4096)
        client.sendall(urllib.request.urlopen(zoo.url(f"/think?s={zoo.scaled(480)}")).read())
