"""A gRPC server of generic handlers, whose messages are plain bytes: `grpc_origin.py HOST PORT`."""

import sys
import threading
from concurrent import futures

import grpc


def say(*words):
    print(*words, flush=True)


def unary(request, context):
    sent = dict(context.invocation_metadata())
    context.send_initial_metadata((("x-initial", sent.get("x-asked", "")),))
    context.set_trailing_metadata((("x-trailing", "last"), ("x-bytes-bin", b"\x00\xff")))
    return request[::-1]


def fail(_request, context):
    context.set_trailing_metadata((("x-why", "because"),))
    context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")


def count(request, _context):
    for number in range(int(request)):
        yield str(number).encode()


def add(requests, _context):
    return str(sum(len(request) for request in requests)).encode()


def echo(requests, _context):
    yield from requests


def wait(request, context):
    """Answers once if asked to, and then waits until its caller is gone."""
    gone = threading.Event()
    context.add_callback(gone.set)
    say("waits")
    if request:
        yield request
    gone.wait(60)
    say("cancelled", request.decode())


METHODS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "Add": grpc.stream_unary_rpc_method_handler(add),
    "Echo": grpc.stream_stream_rpc_method_handler(echo),
    "Wait": grpc.unary_stream_rpc_method_handler(wait),
}

server = grpc.server(futures.ThreadPoolExecutor(max_workers=8), options=[("grpc.so_reuseport", 0)])
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", METHODS),))
assert server.add_insecure_port(f"{sys.argv[1]}:{sys.argv[2]}")
server.start()
say("listening")
server.wait_for_termination()
