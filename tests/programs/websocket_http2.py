"""Speaks WebSocket over HTTP/2 by the libraries h2 and wsproto: `websocket_http2.py HOST PORT PATH WHAT`.

WHAT is `echo` (prints `good`), `end` (the same, and the origin is to end first), `hold` (prints `open`, then how the stream ends), `reset` (resets its stream once an echo
has come), `idle` (asks nothing, prints how the connection ends), or what the answer is to a request that is no WebSocket: `plain` CONNECT, or another `:protocol`."""

import hashlib
import socket
import sys

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

HOST, PORT, PATH, WHAT = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
LARGE = b"".join(hashlib.sha256(i.to_bytes(4, "big")).digest() for i in range(1 << 15))


class Client:
    def __init__(self):
        self.socket = socket.create_connection((HOST, PORT), timeout=30)
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, validate_outbound_headers=False))
        self.http.initiate_connection()
        self.status, self.body, self.ended = None, b"", None
        self.frames = Connection(ConnectionType.CLIENT)
        self.messages, self.partial = [], None

    def flush(self):
        self.socket.sendall(self.http.data_to_send())

    def turn(self):
        """Reads once."""
        read = self.socket.recv(1 << 16)
        if not read:
            self.ended = self.ended or "connection"
            return
        try:
            events = self.http.receive_data(read)
        except h2.exceptions.ProtocolError:
            # The library minds a ping behind GOAWAY.
            assert self.http.state_machine.state == h2.connection.ConnectionState.CLOSED
            self.ended = self.ended or "connection"
            return
        for event in events:
            if isinstance(event, h2.events.ResponseReceived):
                self.status = dict(event.headers)[b":status"].decode()
                self.fields = dict(event.headers)
            elif isinstance(event, h2.events.DataReceived):
                self.http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                self.body += event.data
                if self.status == "200" and event.data:
                    self.frames.receive_data(event.data)
                    self.hear()
            elif isinstance(event, h2.events.StreamEnded):
                self.ended = self.ended or "end"
            elif isinstance(event, h2.events.StreamReset):
                self.ended = f"reset {int(event.error_code)}"
            elif isinstance(event, h2.events.ConnectionTerminated):
                self.ended = self.ended or "connection"
        self.flush()

    def hear(self):
        for event in self.frames.events():
            if isinstance(event, (TextMessage, BytesMessage)):
                self.partial = event.data if self.partial is None else self.partial + event.data
                if event.message_finished:
                    self.messages.append(self.partial)
                    self.partial = None
            elif isinstance(event, Ping):
                self.send(event.response())
            else:
                self.messages.append(event)

    def until(self, done):
        while not done():
            self.turn()

    def send(self, event):
        data = self.frames.send(event)
        while data:
            room = min(self.http.local_flow_control_window(self.stream), self.http.max_outbound_frame_size)
            if room == 0:
                self.turn()
                continue
            self.http.send_data(self.stream, data[:room])
            data = data[room:]
            self.flush()

    def ask(self, fields):
        self.stream = self.http.get_next_available_stream_id()
        self.http.send_headers(self.stream, fields)
        self.flush()
        self.until(lambda: self.status or self.ended)

    def message(self):
        self.until(lambda: self.messages or self.ended)
        return self.messages.pop(0) if self.messages else self.ended


def main():
    client = Client()
    client.flush()
    client.until(lambda: client.http.remote_settings.enable_connect_protocol)
    if WHAT == "idle":
        client.until(lambda: client.ended)
        return print(client.ended)
    authority = f"{HOST}:{PORT}"
    if WHAT == "plain":
        client.ask([(":method", "CONNECT"), (":authority", authority)])
        return print(client.status, client.fields.get(b"underpass-reason", b"").decode())
    protocol = WHAT if WHAT.startswith("connect-") else "websocket"
    client.ask([
        (":method", "CONNECT"), (":protocol", protocol), (":scheme", "http"), (":path", PATH), (":authority", authority),
        ("sec-websocket-version", "13"), ("sec-websocket-protocol", "chat"),
    ])
    if client.status != "200":
        return print(client.status, client.fields.get(b"underpass-reason", b"").decode())
    assert client.fields.get(b"sec-websocket-protocol") == b"chat", client.fields
    assert b"sec-websocket-accept" not in client.fields, client.fields
    client.send(TextMessage(data="text"))
    if WHAT == "hold":
        print("open", flush=True)
        client.until(lambda: client.ended)
        return print(client.ended)
    assert client.message() == "text"
    if WHAT == "reset":
        client.http.reset_stream(client.stream, error_code=8)
        client.flush()
        return print("good")
    client.send(BytesMessage(data=LARGE))
    assert client.message() == LARGE
    for start in range(0, 1 << 18, 1 << 16):
        last = start + (1 << 16) == 1 << 18
        client.send(BytesMessage(data=LARGE[start:start + (1 << 16)], message_finished=last))
    assert client.message() == LARGE[:1 << 18]
    client.send(Ping(payload=b"there?"))
    pong = client.message()
    assert isinstance(pong, Pong) and pong.payload == b"there?", pong
    client.send(CloseConnection(code=4001, reason="enough"))
    close = client.message()
    assert isinstance(close, CloseConnection) and close.code == 4001, close
    if WHAT == "end":
        # Each direction ends alone: the origin's end comes first, and then ours is said.
        client.until(lambda: client.ended)
        assert client.ended == "end", client.ended
    client.http.end_stream(client.stream)
    client.flush()
    print("good")


main()
