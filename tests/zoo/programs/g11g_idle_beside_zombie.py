"""A worker with nothing to do, whose standard input is an open pipe and whose last tool nobody waited for."""
import queue
import subprocess

import zoo

tool = subprocess.Popen(["true"])
zoo.mark()
queue.Queue().get()
