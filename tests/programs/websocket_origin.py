"""Echoes WebSocket messages over HTTP/1.1, by the library websockets: `websocket_origin.py HOST PORT`. `/refuse` is refused
with 403; `/abort` resets its connection at the first message."""

import asyncio
import http
import socket
import struct
import sys

import websockets
from websockets.server import WebSocketServerProtocol


def say(*words):
    print(*words, flush=True)


class Protocol(WebSocketServerProtocol):
    def connection_lost(self, error):
        say("lost", getattr(self, "path", None), type(error).__name__)
        super().connection_lost(error)


async def serve(connection):
    try:
        while True:
            message = await connection.recv()
            if connection.path == "/abort":
                raw = connection.transport.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return connection.transport.abort()
            await connection.send(message)
    except websockets.exceptions.ConnectionClosed:
        say("closed", connection.path, connection.close_code)


async def greet(path, _headers):
    if path == "/refuse":
        return http.HTTPStatus.FORBIDDEN, [], b"no\n"


async def main(host, port):
    options = {"process_request": greet, "create_protocol": Protocol, "subprotocols": ["chat"], "max_size": 1 << 22}
    async with websockets.serve(serve, host, port, **options):
        await asyncio.Future()


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
