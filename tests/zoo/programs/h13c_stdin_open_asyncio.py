"""Reads more input in an event loop from a standard input that somebody left open."""
import asyncio
import sys

import zoo


async def main():
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    print("Reading additional input from stdin...", flush=True)
    zoo.mark()
    print(len(await reader.read()), flush=True)


asyncio.run(main())
