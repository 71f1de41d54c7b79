"""The model is silent. A helper that inherited the open standard input reads it."""
import subprocess

import zoo

subprocess.Popen(["cat"], stdout=subprocess.DEVNULL)
peer = zoo.connect("/hang")
zoo.mark()
peer.recv(4096)
