"""The same tool call again and again: tokens are spent, no file changes."""
import json
import subprocess
import time

import zoo

CALL = {"type": "tool_use", "name": "bash", "input": {"command": "cat src/missing.txt"}}
zoo.mark()
while True:
    print(json.dumps(CALL), flush=True)
    zoo.say("tokens=120")
    subprocess.run(["sh", "-c", CALL["input"]["command"]], capture_output=True, check=False)
    time.sleep(zoo.scaled(0.3, least=0.1))
