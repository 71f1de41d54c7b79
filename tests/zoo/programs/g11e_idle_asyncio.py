"""A worker in an event loop with nothing to do."""
import asyncio

import zoo


async def main():
    tasks = asyncio.Queue()
    zoo.mark()
    while True:
        print(await tasks.get(), flush=True)


asyncio.run(main())
