#!/usr/bin/env bash
# Waits on a Unix socket for another process, outside of this tree, that works on the declared task.
. "$(dirname "$0")/zoo.sh"
mark
while :; do
  say 'task="review by a sub-agent" state=working'
  "${ZOO_PYTHON:-python3}" -c '
import socket, sys
peer = socket.socket(socket.AF_UNIX)
peer.connect(sys.argv[1])
peer.sendall(b"review\n")
print(peer.recv(4096))
' "$ZOO_DIR/daemon.sock"
done
