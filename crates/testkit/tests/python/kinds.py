"""A gRPC service with every kind of method and of field, which gives back what it gets.

usage: kinds.py FOLDER-OF-PROTOS
"""

import os
import sys
import tempfile
from concurrent import futures

import grpc
import grpc_tools
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_reflection.v1alpha import reflection
from grpc_tools import protoc

NAME = "kinds.Kinds"


def files(folder):
    """The files of the proto and of all that it imports, as protoc writes them: options are kept."""
    known = os.path.join(os.path.dirname(grpc_tools.__file__), "_proto")
    with tempfile.NamedTemporaryFile() as out:
        compiled = protoc.main(["", f"-I{folder}", f"-I{known}", "--include_imports", f"--descriptor_set_out={out.name}", "kinds.proto"])
        assert compiled == 0
        return descriptor_pb2.FileDescriptorSet.FromString(out.read()).file


# Messages are not decoded: bytes come and go.
def same(message, context):
    return message


def last(messages, context):
    return list(messages)[-1]


def all_of_them(messages, context):
    yield from messages


def thrice(message, context):
    for _ in range(3):
        yield message


def as_value(struct, context):
    """A Struct as the member `struct_value` of a Value."""
    length, size = bytearray(), len(struct)
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    length.append(size)
    return b"\x2a" + bytes(length) + struct


METHODS = {
    "Watch": grpc.unary_stream_rpc_method_handler(thrice),
    "Collect": grpc.stream_unary_rpc_method_handler(last),
    "Chat": grpc.stream_stream_rpc_method_handler(all_of_them),
    "Free": grpc.unary_unary_rpc_method_handler(as_value),
}

pool = descriptor_pool.DescriptorPool()
for file in files(sys.argv[1]):
    pool.AddSerializedFile(file.SerializeToString())
for method in pool.FindServiceByName(NAME).methods:
    METHODS.setdefault(method.name, grpc.unary_unary_rpc_method_handler(same))
server = grpc.server(futures.ThreadPoolExecutor(max_workers=10))
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(NAME, METHODS)])
reflection.enable_server_reflection((NAME, reflection.SERVICE_NAME), server, pool)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(f"listening {port}", flush=True)
server.wait_for_termination()
