"""An idle worker's periodic line: it names errors and retries, and there were none."""
import itertools
import time

import zoo

zoo.mark()
for n in itertools.count():
    print("worker idle: jobs=0 errors=0 retry=0", flush=True)
    print('{"level":"info","command":"poll","jobs":0}', flush=True)
    time.sleep(zoo.scaled(5))
