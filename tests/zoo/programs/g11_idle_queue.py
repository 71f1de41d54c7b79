"""A worker with nothing to do."""
import queue
import threading

import zoo

tasks = queue.Queue()


def work():
    while True:
        print(tasks.get(), flush=True)


worker = threading.Thread(target=work)
worker.start()
zoo.mark()
worker.join()
