"""A stream that carries comments and never data: a naive read timeout is renewed for ever.

The comments keep their real pace at every scale: ten a second would be the pace of tokens.
"""
import urllib.request

import zoo

answer = urllib.request.urlopen(zoo.url("/ping?s=1"), timeout=600)
zoo.mark()
for line in answer:
    if line.startswith(b"data:"):
        print(line.decode(), flush=True)
