"""An origin that speaks HTTP/2 without TLS, by hypercorn: `http2_origin.py HOST PORT`. It echoes WebSocket messages, but
refuses `/refuse`. A request for `/begins` gets the begin of an answer, any other none, until its client gives it up."""

import asyncio
import sys

from hypercorn.asyncio import serve
from hypercorn.config import Config


def say(*words):
    print(*words, flush=True)


async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await websocket(scope, receive, send)
    elif scope["type"] == "http":
        await http(scope, receive, send)


async def websocket(scope, receive, send):
    await receive()
    say("asked", scope["http_version"], scope["path"])
    if scope["path"] == "/refuse":
        return await send({"type": "websocket.close"})
    await send({"type": "websocket.accept", "subprotocol": "chat"})
    while True:
        event = await receive()
        if event["type"] != "websocket.receive":
            return say("closed", scope["path"], event.get("code"))
        kind = "text" if event.get("text") is not None else "bytes"
        await send({"type": "websocket.send", kind: event[kind]})


async def http(scope, receive, send):
    if scope["path"] == "/begins":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/grpc")]})
        await send({"type": "http.response.body", "body": b"\0\0\0\0\4once", "more_body": True})
    while (await receive())["type"] != "http.disconnect":
        pass
    say("cancelled", scope["path"])


config = Config()
config.bind = [f"{sys.argv[1]}:{sys.argv[2]}"]
config.loglevel = "WARNING"
asyncio.run(serve(app, config))
