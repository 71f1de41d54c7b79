"""Three threads that hash and release the interpreter's lock to do so; the main thread waits for them."""
import hashlib
import threading

import zoo

BLOCK = b"x" * 4_000_000


def work():
    digest = b""
    while True:
        digest = hashlib.sha256(digest + BLOCK).digest()


workers = [threading.Thread(target=work) for _ in range(3)]
for worker in workers:
    worker.start()
zoo.mark()
for worker in workers:
    worker.join()
