"""A 429 that asks for a minute, again and again: asks, sleeps, asks."""
import time

import zoo

zoo.say('task="answer the letter"')
zoo.mark()
while True:
    peer = zoo.connect("/busy")
    while peer.recv(4096):
        pass
    peer.close()
    time.sleep(zoo.scaled(60))
