"""Speaks WebSocket over HTTP/1.1 by the library websockets: `websocket_client.py URL`. Prints `good` if all came back."""

import asyncio
import hashlib
import sys

import websockets

LARGE = b"".join(hashlib.sha256(i.to_bytes(4, "big")).digest() for i in range(1 << 15))


async def main(url):
    # An origin may leave it to the client to end the connection (hypercorn does, over HTTP/2).
    async with websockets.connect(url, subprotocols=["chat"], max_size=1 << 22, close_timeout=2) as socket:
        assert socket.subprotocol == "chat", socket.subprotocol
        await socket.send("text")
        assert await socket.recv() == "text"
        await socket.send(LARGE)
        assert await socket.recv() == LARGE
        await socket.send([LARGE[:10], b"", LARGE[10:70_000], LARGE[70_000:100_000]])
        assert await socket.recv() == LARGE[:100_000]
        await asyncio.wait_for(await socket.ping(b"there?"), 30)
        # Many at once, in order.
        for number in range(100):
            await socket.send(str(number))
        assert [await socket.recv() for _ in range(100)] == [str(number) for number in range(100)]
        await socket.close(4001, "enough")
    assert socket.close_code == 4001, socket.close_code
    print("good")


asyncio.run(main(sys.argv[1]))
