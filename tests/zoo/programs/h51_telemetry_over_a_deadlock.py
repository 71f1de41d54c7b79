"""Waits for a lock that it holds; a thread reports some figures each quarter of a minute, over one connection."""
import os
import socket
import threading
import time

import zoo


def report():
    with open(f"{os.environ['ZOO_DIR']}/port") as file:
        peer = socket.create_connection(("127.0.0.1", int(file.read())))
    while True:
        peer.sendall(b"POST /updates?s=0 HTTP/1.1\r\nHost: zoo\r\n\r\n" + b"figure " * 120)
        peer.recv(4096)
        time.sleep(zoo.scaled(15))


zoo.say('task="merge the branches"')
threading.Thread(target=report, daemon=True).start()
lock = threading.Lock()
lock.acquire()
zoo.mark()
lock.acquire()
