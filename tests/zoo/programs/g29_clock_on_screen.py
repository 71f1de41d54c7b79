"""A full screen at rest: a clock, repainted five times a second, and a kept connection whose answer came."""
import select
import sys
import time
import tty

import zoo

peer = zoo.connect("/think?s=0")
while b"data:" not in peer.recv(4096):
    pass
tty.setraw(0)
zoo.mark()
while True:
    sys.stdout.write("\x1b[H\x1b[2K%s ready" % time.strftime("%H:%M:%S"))
    sys.stdout.flush()
    if select.select([0], [], [], 0.2)[0]:
        break
