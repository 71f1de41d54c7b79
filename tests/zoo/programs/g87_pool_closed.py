"""A tool runs; beside it an idle connection of the pool was closed by its server."""
import subprocess
import time

import zoo

pooled = zoo.connect("/close")
time.sleep(zoo.scaled(5, least=0.5))
zoo.mark()
subprocess.run(["sleep", str(zoo.scaled(500))])
