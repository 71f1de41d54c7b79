"""Writes in an event loop into a pipe that nobody reads, and waits until it drains."""
import asyncio
import sys

import zoo


async def main():
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, sys.stdout)
    writer = asyncio.StreamWriter(transport, protocol, None, loop)
    zoo.mark()
    while True:
        writer.write(b"line of a long report " * 40)
        await writer.drain()


asyncio.run(main())
