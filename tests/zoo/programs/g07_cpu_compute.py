"""Numbers, numbers. With an argument it says each minute how far it is; without, it is mute."""
import sys
import time

import zoo

tells = len(sys.argv) > 1
if tells:
    zoo.say('task="factor the numbers" progress=0 state=working')
zoo.mark()
total, done, told = 0, 0, time.monotonic()
while True:
    for i in range(2_000_000):
        total = (total * 31 + i) % 1_000_003
    if tells and time.monotonic() - told > zoo.scaled(60):
        done, told = done + 1, time.monotonic()
        zoo.say(f"progress={done % 100}")
