"""Makes a semaphore in a file that others map, and posts it now and then."""
import ctypes
import mmap
import sys
import time

import zoo

with open(sys.argv[1], "wb") as file:
    file.write(bytes(64))
with open(sys.argv[1], "r+b") as file:
    memory = mmap.mmap(file.fileno(), 64)
semaphore = ctypes.addressof(ctypes.c_char.from_buffer(memory))
libc = ctypes.CDLL(None)
libc.sem_init(ctypes.c_void_p(semaphore), 1, 0)
print("made", flush=True)
while True:
    time.sleep(zoo.scaled(200))
    libc.sem_post(ctypes.c_void_p(semaphore))
