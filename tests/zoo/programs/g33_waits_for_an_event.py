"""g33_waits_for_an_event.py signal|file: with a task, waits for an event that comes from outside."""
import ctypes
import os
import signal
import sys

import zoo

zoo.say('task="wait for the scheduler"')
if sys.argv[1] == "signal":
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    zoo.mark()
    signal.sigwait([signal.SIGUSR1])
else:
    libc = ctypes.CDLL(None, use_errno=True)
    changes = libc.inotify_init()
    libc.inotify_add_watch(changes, os.environ["ZOO_DIR"].encode(), 0x200)  # IN_DELETE
    zoo.mark()
    os.read(changes, 4096)
