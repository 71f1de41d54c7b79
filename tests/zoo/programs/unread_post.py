"""A socket that takes letters, and is not read."""
import socket
import sys
import time

post = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
post.bind(sys.argv[1])
print("takes letters", flush=True)
time.sleep(100000)
