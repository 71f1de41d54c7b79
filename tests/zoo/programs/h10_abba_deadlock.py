"""Two threads, two locks, taken in opposite order. With an argument the task is declared first, with another one that is said too."""
import sys
import threading

import zoo

one, two = threading.Lock(), threading.Lock()
both = threading.Barrier(2)


def take(first, second):
    with first:
        both.wait()
        with second:
            pass


if len(sys.argv) > 1:
    zoo.say(f'task="{sys.argv[1]}" state=working')
for line in sys.argv[2:]:
    zoo.say(line)
workers = [threading.Thread(target=take, args=pair) for pair in ((one, two), (two, one))]
for worker in workers:
    worker.start()
zoo.mark()
for worker in workers:
    worker.join()
