"""A socket that takes connections, and accepts none."""
import socket
import sys
import time

door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
door.bind(sys.argv[1])
door.listen()
print("takes connections", flush=True)
time.sleep(100000)
