"""A model call without a timeout to a server that never answers."""
import urllib.request

import zoo

zoo.mark()
urllib.request.urlopen(zoo.url("/hang")).read()
