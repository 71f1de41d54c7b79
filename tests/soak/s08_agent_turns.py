"""An agent's turns: the model thinks, a tool runs, a file is written."""
import os
import subprocess
import sys
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../zoo/programs"))
import zoo

zoo.mark()
for turn in range(10**6):
    answer = urllib.request.urlopen(zoo.url(f"/think?s={2 + turn % 5}")).read()
    found = subprocess.run(["grep", "-rl", f"token{turn}", "/usr/share/doc"], capture_output=True, check=False)
    with open(os.path.join(os.environ["ZOO_DIR"], "notes"), "a") as notes:
        notes.write(f"{turn} {answer!r} {len(found.stdout)}\n")
