"""Asked to come back in a minute: it tells so each second and waits."""
import time

import zoo

zoo.say('task="translate"')
zoo.mark()
while True:
    for left in range(60, 0, -1):
        zoo.say(f'state=waiting_model step="429, next try in {left} s"')
        time.sleep(zoo.scaled(1))
