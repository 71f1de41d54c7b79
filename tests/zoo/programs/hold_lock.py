"""hold_lock.py FILE: holds a record lock on the whole file for ever."""
import fcntl
import signal
import sys

file = open(sys.argv[1], "w")
fcntl.lockf(file, fcntl.LOCK_EX)
print("locked", flush=True)
signal.pause()
