"""A future that nobody will resolve, beside a ticker. The task was declared."""
import asyncio

import zoo


async def tick():
    while True:
        await asyncio.sleep(zoo.scaled(1, least=0.1))


async def main():
    zoo.say('task="summarise the report" state=working')
    ticker = asyncio.create_task(tick())
    await asyncio.sleep(0.1)
    zoo.mark()
    await asyncio.get_running_loop().create_future()
    await ticker


asyncio.run(main())
