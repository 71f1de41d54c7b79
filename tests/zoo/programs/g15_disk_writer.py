"""Writes and syncs, writes and syncs."""
import os

import zoo

BLOCK = b"x" * 1_000_000
zoo.mark()
with open(os.path.join(os.environ["ZOO_DIR"], "data"), "wb") as target:
    while True:
        target.seek(0)
        for _ in range(8):
            target.write(BLOCK)
            target.flush()
            os.fsync(target.fileno())
