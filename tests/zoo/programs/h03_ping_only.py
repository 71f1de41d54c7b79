"""A stream that carries comments and never data: a naive read timeout is renewed for ever."""
import urllib.request

import zoo

answer = urllib.request.urlopen(zoo.url(f"/ping?s={zoo.scaled(1, least=0.1)}"), timeout=600)
zoo.mark()
for line in answer:
    if line.startswith(b"data:"):
        print(line.decode(), flush=True)
