"""Asks each ten seconds whether a build is done, in an event loop, over a new connection each time."""
import asyncio

import zoo

HOST, PORT = zoo.PEER.rsplit(":", 1)


async def turn():
    while True:
        reader, writer = await asyncio.open_connection(HOST, int(PORT))
        writer.write(b"GET /think?s=0 HTTP/1.1\r\nHost: zoo\r\n\r\n")
        await reader.read(-1)
        writer.close()
        await asyncio.sleep(zoo.scaled(10))


zoo.say('task="build"')
zoo.mark()
asyncio.run(turn())
