"""A pool of threads hashes a queue of work while the first thread waits for the results."""
import hashlib
from concurrent.futures import ThreadPoolExecutor

import zoo

data = b"x" * 10_000_000


def work(n):
    for _ in range(int(zoo.scaled(2000))):
        hashlib.sha256(data).digest()
    return n


with ThreadPoolExecutor(2) as pool:
    zoo.mark()
    while True:
        for done in pool.map(work, range(8)):
            pass
