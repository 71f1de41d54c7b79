"""A log whose reader, another program, takes a part of it every forty seconds: most of the time the pipe is full."""
import os

import zoo

zoo.mark()
while True:
    os.write(1, b"one line of the log\n" * 1000)
