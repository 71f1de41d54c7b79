"""An event loop whose service refuses: it tries again after four minutes, each time over another connection."""
import asyncio

import zoo


async def turn():
    zoo.mark()
    host, port = zoo.PEER.rsplit(":", 1)
    while True:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /busy HTTP/1.1\r\nHost: zoo\r\n\r\n")
        await reader.read()
        writer.close()
        await asyncio.sleep(zoo.scaled(256))


zoo.say('task="answer the letter"')
asyncio.run(turn())
