"""A remote shell's client: waits for keys on the terminal and for bytes of the other side, whichever comes first."""
import os
import select
import sys
import termios
import tty

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../zoo/programs"))
import zoo

peer = zoo.connect("/stall")
before = termios.tcgetattr(0)
tty.setraw(0)
try:
    zoo.mark()
    while True:
        ready, _, _ = select.select([0, peer], [], [])
        if peer in ready:
            os.write(1, peer.recv(4096))
        if 0 in ready:
            peer.sendall(os.read(0, 4096))
finally:
    termios.tcsetattr(0, termios.TCSADRAIN, before)
