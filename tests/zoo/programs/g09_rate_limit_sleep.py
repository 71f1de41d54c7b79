"""Sleeps until the limit resets, in an hour."""
import asyncio

import zoo


async def main():
    print("rate limited, resets in 3600s", flush=True)
    zoo.mark()
    await asyncio.sleep(zoo.scaled(3600, least=120))


asyncio.run(main())
