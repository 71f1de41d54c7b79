"""Plays a terminal for a shell, in which a long command runs, and waits for what it prints."""
import os
import pty
import select

import zoo

zoo.say('task="deploy"')
pid, master = pty.fork()
if pid == 0:
    os.execvp("bash", ["bash", "--norc", "-c", f"sleep {zoo.scaled(1200)}; echo deployed"])
zoo.mark()
while select.select([master], [], []):
    os.read(master, 4096)
