"""hold_lock_at_work.py FILE: holds a lock and writes a byte now and then, as a build does that waits for a compiler."""
import fcntl
import os
import sys
import time

scale = float(os.environ.get("ZOO_SCALE", "1"))
with open(sys.argv[1], "w") as held, open(sys.argv[1] + ".built", "w") as built:
    fcntl.flock(held, fcntl.LOCK_EX)
    print("holds", flush=True)
    while True:
        built.write("x")
        built.flush()
        time.sleep(5 * scale)
