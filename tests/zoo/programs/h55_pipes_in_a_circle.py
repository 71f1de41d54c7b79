"""Three processes, each of which writes to the next before it reads: all pipes are full."""
import os

import zoo

pipes = [os.pipe() for _ in range(3)]
own = 0
zoo.mark()
for child in (1, 2):
    if own == 0 and os.fork() == 0:
        own = child
for n, (reads, writes) in enumerate(pipes):
    if n != own:
        os.close(writes)
    if (n + 1) % 3 != own:
        os.close(reads)
while True:
    os.write(pipes[own][1], b"x" * 65536)
