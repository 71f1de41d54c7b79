"""A tool call that started a server in the foreground: it will never end. The task was declared."""
import subprocess
import sys
import threading

import zoo

zoo.say('task="try the page" state=working')
threading.Timer(1, zoo.mark).start()
server = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "0"]
print(subprocess.run(server, stdout=subprocess.PIPE, check=False).stdout)
