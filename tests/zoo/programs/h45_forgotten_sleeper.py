"""Nothing will ever wake the loop; a child of it that nobody waits for sleeps for a day."""
import asyncio
import subprocess

import zoo

zoo.say('task="answer the letter"')
subprocess.Popen(["sleep", "86400"], stdout=subprocess.DEVNULL)


async def turn():
    zoo.mark()
    await asyncio.get_running_loop().create_future()


asyncio.run(turn())
