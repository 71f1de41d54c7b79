"""Counts, until a debugger stops it."""
import time

import zoo

zoo.mark()
n = 0
while True:
    n += 1
    time.sleep(0.05)
