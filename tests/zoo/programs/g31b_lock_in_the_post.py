"""Waits for a lock that it took by a descriptor which is now on its way to a process outside: in no table until received."""
import fcntl
import os
import socket
import time

import zoo

folder = os.environ["ZOO_DIR"]
zoo.say('task="build"')
path = os.path.join(folder, "lock")
with open(path, "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as post:
        while not os.path.exists(os.path.join(folder, "post")):
            time.sleep(0.05)
        post.connect(os.path.join(folder, "post"))
        socket.send_fds(post, [b"lock"], [lock.fileno()])
again = open(path, "w")
zoo.mark()
fcntl.flock(again, fcntl.LOCK_EX)
