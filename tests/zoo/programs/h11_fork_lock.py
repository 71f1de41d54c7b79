"""fork() while another thread holds a lock: the child's copy of it is never released."""
import os
import threading
import time

import zoo

lock = threading.Lock()
held = threading.Event()


def hold():
    with lock:
        held.set()
        time.sleep(0.5)


threading.Thread(target=hold).start()
held.wait()
child = os.fork()
if child == 0:
    with lock:
        os._exit(0)
time.sleep(1)  # the thread is over; only the child's copy is still locked
zoo.mark(child=child)
os.waitpid(child, 0)
