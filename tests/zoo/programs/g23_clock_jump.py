"""A token each 0.4 s, and a machine that is suspended in between."""
import urllib.request

import zoo

zoo.mark()
while True:
    for line in urllib.request.urlopen(zoo.url("/slow")):
        pass
