"""50 MB more each second, up to 3 GB."""
import time

import zoo

zoo.mark()
kept = []
while True:
    if len(kept) < 300:
        kept.append(bytearray(b"x" * 10_000_000))
    time.sleep(0.2)
