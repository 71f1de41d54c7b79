"""A connection with nothing to do, kept alive by two bytes each half minute, as MQTT does; the peer says nothing."""
import threading
import time

import zoo

peer = zoo.connect("/hang")
threading.Thread(target=lambda: peer.recv(4096), daemon=True).start()
zoo.mark()
while True:
    peer.sendall(b"\xc0\x00")
    time.sleep(zoo.scaled(30))
