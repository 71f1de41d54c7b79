"""The peer has sent and closed; the program waits for an event that only a reader nobody started would set."""
import threading

import zoo

arrived = threading.Event()
peer = zoo.connect("/close")
zoo.mark()
arrived.wait()
