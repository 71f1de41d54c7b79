"""The peer has sent and closed; the loop does not watch that socket and awaits an event that nobody will set."""
import asyncio

import zoo


async def main():
    arrived = asyncio.Event()
    peer = zoo.connect("/close")
    zoo.mark()
    await arrived.wait()
    peer.close()


asyncio.run(main())
