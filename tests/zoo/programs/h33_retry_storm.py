"""Twenty connections a second to a port where nobody listens, each with the same complaint."""
import socket
import time

import zoo

closed = socket.create_server(("127.0.0.1", 0))
port = closed.getsockname()[1]
closed.close()
zoo.mark()
while True:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        print("API error 529 overloaded, retrying", flush=True)
    time.sleep(0.05)
