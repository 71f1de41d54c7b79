"""A stream in an event loop that stops after three tokens; the task was declared."""
import asyncio

import zoo


async def main():
    zoo.say('task="translate the chapter" state=working')
    host, port = zoo.PEER.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET /stall HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    seen = 0
    async for line in reader:
        if line.startswith(b"data:"):
            seen += 1
            print("token", seen, flush=True)
        if seen == 3:
            zoo.mark()


asyncio.run(main())
