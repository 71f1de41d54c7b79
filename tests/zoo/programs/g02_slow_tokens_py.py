"""A token each 0.4 s."""
import urllib.request

import zoo

zoo.mark()
for line in urllib.request.urlopen(zoo.url("/slow")):
    pass
