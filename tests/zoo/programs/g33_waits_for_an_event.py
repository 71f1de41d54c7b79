"""g33_waits_for_an_event.py signal|file|orders|loop: with a task, waits for an event that comes from outside."""
import asyncio
import ctypes
import os
import signal
import sys

import zoo


async def loop():
    scheduled = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, scheduled.set)
    zoo.mark()
    await scheduled.wait()


zoo.say('task="wait for the scheduler"')
if sys.argv[1] == "signal":
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    zoo.mark()
    signal.sigwait([signal.SIGUSR1])
elif sys.argv[1] == "orders":
    os.mkfifo("orders")
    orders = os.open("orders", os.O_RDWR)
    zoo.mark()
    os.read(orders, 4096)
elif sys.argv[1] == "loop":
    asyncio.run(loop())
else:
    libc = ctypes.CDLL(None, use_errno=True)
    changes = libc.inotify_init()
    libc.inotify_add_watch(changes, os.environ["ZOO_DIR"].encode(), 0x200)  # IN_DELETE
    zoo.mark()
    os.read(changes, 4096)
