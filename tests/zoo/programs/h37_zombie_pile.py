"""Two hundred children that ended and that nobody waits for."""
import subprocess
import time

import zoo

children = [subprocess.Popen(["true"]) for _ in range(200)]
zoo.mark()
while True:
    time.sleep(1000)
