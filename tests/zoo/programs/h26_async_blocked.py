"""An asyncio server with a blocking sleep in a coroutine: the next request has arrived and nobody looks."""
import asyncio
import threading
import time
import urllib.request

import zoo

blocked = threading.Event()


async def handle(reader, writer):
    await reader.readline()
    blocked.set()
    time.sleep(99_999)


def ask_twice(port):
    poke = zoo.url(f"/poke?p={port}")
    urllib.request.urlopen(poke).read()
    blocked.wait()
    urllib.request.urlopen(poke).read()
    zoo.mark()


async def main():
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    threading.Thread(target=ask_twice, args=(port,), daemon=True).start()
    await server.serve_forever()


asyncio.run(main())
