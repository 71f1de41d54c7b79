"""A stream whose path is dropped in the middle, as a NAT does: no FIN, no RST, no keep-alive of the client's own."""
import urllib.request

import zoo

seen = 0
for line in urllib.request.urlopen(zoo.url("/stall")):
    if line.startswith(b"data:"):
        seen += 1
    if seen == 3:
        zoo.mark()  # here the harness drops all packets
