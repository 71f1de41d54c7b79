"""50 MB at 250 kB a second, into a file."""
import os
import urllib.request

import zoo

zoo.mark()
with urllib.request.urlopen(zoo.url("/download?b=250000")) as source:
    with open(os.path.join(os.environ["ZOO_DIR"], "download"), "wb") as target:
        while part := source.read(65536):
            target.write(part)
