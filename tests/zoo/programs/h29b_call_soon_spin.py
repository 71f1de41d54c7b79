"""A coroutine that yields and looks again, without a pause."""
import asyncio

import zoo

ready = False


async def main():
    zoo.mark()
    while not ready:
        await asyncio.sleep(0)


asyncio.run(main())
