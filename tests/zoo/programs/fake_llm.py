"""fake_llm.py HOST: the other end of the wire. Prints its port, then answers each path in its own bad or good way.

/hang        takes the request and never answers            /slow      a token each 0.4 s, for ever
/stall       three tokens, then silence                      /think?s=  silence for s seconds, then an answer
/ping?s=     a comment each s seconds and no data            /pingthink?s=  comments for s seconds, then an answer
/close       half an answer, then closes                     /download?b=   b bytes a second, 50 MB in all
/private/…   401, as a private repository                    /poke?p=       sends an unasked request to port p
/cut?s=      silence for s seconds, then closes
/busy        429 at once                                     /uneven      tokens with gaps of 0.2 s to 4 s
"""
import itertools
import socket
import sys
import threading
import time
from urllib.parse import parse_qs, urlsplit

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
TOKEN = b'data: {"token":"lorem"}\n\n'
PING = b": ping\n\n"
FOR_EVER = 10**6
pokes = []


def request(peer):
    text = b""
    while b"\r\n\r\n" not in text:
        part = peer.recv(4096)
        if not part:
            return None
        text += part
    target = urlsplit(text.split(b" ", 2)[1].decode())
    return target.path, {key: value[0] for key, value in parse_qs(target.query).items()}


def answer(peer, path, of):
    if path == "/hang":
        time.sleep(FOR_EVER)
    elif path.startswith("/private"):
        peer.sendall(b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm="private"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
    elif path == "/busy":
        peer.sendall(b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3600\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    elif path == "/poke":
        unasked = socket.create_connection(("127.0.0.1", int(of["p"])))
        unasked.sendall(b"GET /work HTTP/1.1\r\n\r\n")
        pokes.append(unasked)  # held open: somebody waits for an answer
        peer.sendall(HEAD)
    elif path == "/cut":
        time.sleep(float(of["s"]))
    elif path == "/think":
        time.sleep(float(of["s"]))
        peer.sendall(HEAD + TOKEN)
    else:
        peer.sendall(HEAD)
        stream(peer, path, of)


def stream(peer, path, of):
    if path == "/stall":
        for _ in range(3):
            peer.sendall(TOKEN)
            time.sleep(0.1)
        time.sleep(FOR_EVER)
    elif path == "/slow":
        while True:
            peer.sendall(TOKEN)
            time.sleep(0.4)
    elif path == "/uneven":
        for gap in itertools.cycle((0.2, 0.2, 0.5, 0.3, 4, 1, 0.2, 2)):
            peer.sendall(TOKEN)
            time.sleep(gap)
    elif path == "/ping":
        while True:
            peer.sendall(PING)
            time.sleep(float(of["s"]))
    elif path == "/pingthink":
        thinking = float(of["s"])
        until = time.monotonic() + thinking
        while time.monotonic() < until:
            peer.sendall(PING)
            time.sleep(thinking / 480)
        peer.sendall(TOKEN * 8)
    elif path == "/close":
        peer.sendall(TOKEN)
    elif path == "/download":
        part = int(of["b"]) // 10
        for _ in range(50_000_000 // part):
            peer.sendall(b"x" * part)
            time.sleep(0.1)


def serve(peer):
    try:
        with peer:
            asked = request(peer)
            if asked:
                answer(peer, *asked)
    except OSError:
        pass  # the client left


listener = socket.create_server((sys.argv[1], 0), backlog=64)
print(listener.getsockname()[1], flush=True)
while True:
    client, _ = listener.accept()
    threading.Thread(target=serve, args=(client,), daemon=True).start()
