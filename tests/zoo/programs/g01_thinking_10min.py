"""The model thinks for ten minutes without a byte, then answers; again and again. With an argument keep-alive is on."""
import socket
import sys
import urllib.request

import zoo

if len(sys.argv) > 1:
    plain = socket.create_connection

    def kept_alive(*args, **kwargs):
        peer = plain(*args, **kwargs)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
        return peer

    socket.create_connection = kept_alive
zoo.mark()
while True:
    print(urllib.request.urlopen(zoo.url(f"/think?s={zoo.scaled(600)}")).read(), flush=True)
