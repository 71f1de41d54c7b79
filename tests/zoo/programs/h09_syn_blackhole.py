"""connect() without a timeout to an address whose packets are dropped."""
import os
import socket

import zoo

peer = socket.socket()
zoo.mark()
peer.connect((os.environ["ZOO_NOWHERE"], 443))
