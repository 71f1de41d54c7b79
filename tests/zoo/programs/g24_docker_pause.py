"""Works through files until its container is paused."""
import os
import time

import zoo

zoo.mark()
n = 0
while True:
    n += 1
    with open(os.path.join(os.environ["ZOO_DIR"], "count"), "w") as target:
        target.write(f"{n}\n")
    time.sleep(0.1)
