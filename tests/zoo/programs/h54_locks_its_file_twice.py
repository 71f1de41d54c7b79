"""Locks a file that it has locked over another descriptor: it waits for itself. It owes nothing."""
import fcntl

import zoo

first, second = open("lock", "w"), open("lock", "w")
fcntl.flock(first, fcntl.LOCK_EX)
zoo.mark()
fcntl.flock(second, fcntl.LOCK_EX)
