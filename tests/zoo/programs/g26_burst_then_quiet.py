"""A burst of retries, then ones that keep their distance: the service is down, and each wait is longer than the last."""
import time
import urllib.error
import urllib.request

import zoo

zoo.mark()
wait = 2
while True:
    try:
        urllib.request.urlopen(zoo.url("/busy")).read()
    except urllib.error.HTTPError as error:
        print(f"{error.code}, next try in {wait} s", flush=True)
    time.sleep(zoo.scaled(wait))
    wait = min(wait * 2, 90)
