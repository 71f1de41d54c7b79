"""Every turn ends with a silent call of four minutes, announced by one status line."""
import urllib.request

import zoo

zoo.mark()
while True:
    zoo.say('task="long conversation" state=working step=compacting phase=compacting')
    urllib.request.urlopen(zoo.url(f"/think?s={zoo.scaled(240)}")).read()
    print("compacted", flush=True)
    zoo.say("step=answering")
    urllib.request.urlopen(zoo.url(f"/think?s={zoo.scaled(10)}")).read()
