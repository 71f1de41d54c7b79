"""The stream carries comments for eight minutes while the model thinks, then tokens; again and again."""
import urllib.request

import zoo

zoo.mark()
while True:
    for line in urllib.request.urlopen(zoo.url(f"/pingthink?s={zoo.scaled(480)}")):
        if line.startswith(b"data:"):
            print(line.decode().strip(), flush=True)
