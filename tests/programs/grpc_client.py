"""Calls the server of `grpc_origin.py`: `grpc_client.py HOST:PORT WHAT`. Prints `good`, or the status of a call."""

import queue
import sys

import grpc

AT, WHAT = sys.argv[1], sys.argv[2]
LIMIT = 30
channel = grpc.insecure_channel(AT, options=[("grpc.enable_http_proxy", 0), ("grpc.enable_retries", 0)])


def everything():
    unary = channel.unary_unary("/test.Test/Unary")
    answer, call = unary.with_call(b"abc", timeout=LIMIT, metadata=(("x-asked", "yes"),))
    trailing = dict(call.trailing_metadata())
    assert answer == b"cba", answer
    assert dict(call.initial_metadata())["x-initial"] == "yes", call.initial_metadata()
    assert trailing["x-trailing"] == "last" and trailing["x-bytes-bin"] == b"\x00\xff", trailing
    large = bytes(range(256)) * 8192
    assert unary(large, timeout=LIMIT) == large[::-1]

    counted = [int(n) for n in channel.unary_stream("/test.Test/Count")(b"1000", timeout=LIMIT)]
    assert counted == list(range(1000)), counted
    added = channel.stream_unary("/test.Test/Add")((b"x" * 1000 for _ in range(100)), timeout=LIMIT)
    assert added == b"100000", added

    # Each message waits for the echo of the one before: nothing on the way may hold one back.
    requests = queue.SimpleQueue()
    echoes = channel.stream_stream("/test.Test/Echo")(iter(requests.get, None), timeout=LIMIT)
    for number in range(50):
        requests.put(str(number).encode())
        assert next(echoes) == str(number).encode()
    requests.put(None)
    assert list(echoes) == []

    try:
        channel.unary_unary("/test.Test/Fail")(b"", timeout=LIMIT)
        raise AssertionError("it failed to fail")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND and error.details() == "no such thing", error
        assert dict(error.trailing_metadata())["x-why"] == "because", error

    # Cancelled by its caller.
    waiting = channel.unary_stream("/test.Test/Wait")(b"client", timeout=LIMIT)
    assert next(waiting) == b"client"
    waiting.cancel()
    print("good")


def status():
    try:
        channel.unary_unary("/test.Test/Unary")(b"", timeout=LIMIT)
        print("OK")
    except grpc.RpcError as error:
        print(error.code().name, error.details())


def broken():
    """Says what it got of an answer that is not to end, and how it ended all the same."""
    try:
        for message in channel.unary_stream("/test.Test/Wait")(b"begun", timeout=LIMIT):
            print(message.decode(), flush=True)
        print("OK")
    except grpc.RpcError as error:
        print(error.code().name, error.details())


{"everything": everything, "status": status, "broken": broken}[WHAT]()
