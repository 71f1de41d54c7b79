"""Three tokens of a stream, then silence on an open connection."""
import urllib.request

import zoo

seen = 0
for line in urllib.request.urlopen(zoo.url("/stall")):
    if line.startswith(b"data:"):
        seen += 1
        print("token", seen, flush=True)
    if seen == 3:
        zoo.mark()
