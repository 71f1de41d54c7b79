"""A model that speaks unevenly: gaps between its tokens from a fifth of a second to four seconds."""
import os
import sys
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../zoo/programs"))
import zoo

zoo.mark()
for line in urllib.request.urlopen(zoo.url("/uneven")):
    if line.startswith(b"data:"):
        print(line.decode().strip(), flush=True)
