"""h41_frames.py BYTES PACE: a full screen that is redrawn over an answer that stopped after three tokens."""
import os
import select
import sys

import zoo

size, pace = int(sys.argv[1]), float(sys.argv[2])
peer = zoo.connect("/stall")
text = b""
while text.count(b"data:") < 3:
    text += peer.recv(4096)
zoo.mark()
frame = 0
while True:
    ready, _, _ = select.select([peer], [], [], 1 / pace)
    if ready and not peer.recv(4096):
        break
    frame += 1
    os.write(1, (b"\r\x1b[K" + b"|/-\\"[frame % 4:frame % 4 + 1] + b" thinking").ljust(size, b" "))
