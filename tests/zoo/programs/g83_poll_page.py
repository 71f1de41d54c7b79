"""An agent with a task that fetches a page every two seconds, each time over a new connection."""
import asyncio

import zoo


async def fetch():
    host, port = zoo.PEER.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /complete HTTP/1.1\r\nHost: zoo\r\nConnection: close\r\n\r\n")
    await reader.read()
    writer.close()


async def main():
    zoo.say('task="wait for the deployment"')
    zoo.mark()
    while True:
        await fetch()
        await asyncio.sleep(zoo.scaled(2))


asyncio.run(main())
