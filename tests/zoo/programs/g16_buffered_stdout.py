"""Works through files and prints into a buffer that is written at the end."""
import hashlib
import os
import time

import zoo

folder = os.environ["ZOO_DIR"]
zoo.mark()
for n in range(10**9):
    path = os.path.join(folder, f"part{n % 50}")
    with open(path, "wb") as target:
        target.write(os.urandom(200_000))
    with open(path, "rb") as source:
        digest = hashlib.sha256(source.read()).hexdigest()
    if n % 1000 == 0:
        print(n, digest)
    time.sleep(0.02)
