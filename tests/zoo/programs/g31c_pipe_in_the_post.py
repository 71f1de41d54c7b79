"""Waits for a pipe whose other end is on its way to a process outside, and keeps that end too: in no other table until received."""
import os
import socket
import time

import zoo

post = os.path.join(os.environ["ZOO_DIR"], "post")
zoo.say('task="build"')
reads, writes = os.pipe()
with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as letter:
    while not os.path.exists(post):
        time.sleep(0.05)
    letter.connect(post)
    socket.send_fds(letter, [b"pipe"], [writes])
zoo.mark()
os.read(reads, 1)
