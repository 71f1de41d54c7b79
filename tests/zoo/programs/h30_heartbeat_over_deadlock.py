"""A thread says "agent running" each second; the two that do the work have locked each other out."""
import threading
import time

import zoo

one, two = threading.Lock(), threading.Lock()
both = threading.Barrier(2)


def take(first, second):
    with first:
        both.wait()
        with second:
            pass


for pair in ((one, two), (two, one)):
    threading.Thread(target=take, args=pair, daemon=True).start()
zoo.mark()
while True:
    print("agent running", flush=True)
    time.sleep(zoo.scaled(1, least=0.1))
