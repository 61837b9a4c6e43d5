"""A caller in Python: grpcio with nothing generated, its schema learnt from the daemon by reflection.

Must never mend what the library does: a table tells what a component in Python would meet.
Called by ../libraries.sh: client.py SOCKET DIRECTORY SCHEMAS [UID]. Each line of standard input is a call as JSON; its
request is DIRECTORY/request, its answer or error goes to DIRECTORY/out or DIRECTORY/err as grpcurl would print it, and a
line on standard output says 0 or 1. ../node/client.js is the same in Node.
"""

import json
import os
import pathlib
import sys
import threading
import time

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_tools import protoc


class Caller:
    """Keeps its channels for all calls, as a component does."""

    def __init__(self, socket, directory, schemas):
        self.target = f"unix:{socket}"
        self.directory = directory
        self.schemas = schemas
        self.channels = {}
        self.pools = {}

    def channel(self, with_authority):
        if with_authority not in self.channels:
            options = [("grpc.default_authority", "localhost")] if with_authority else []
            self.channels[with_authority] = grpc.insecure_channel(self.target, options)
        return self.channels[with_authority]

    def reflection(self):
        return ProtoReflectionDescriptorDatabase(self.channel(True))

    def pool(self, schema):
        """The schema as the daemon tells it, or that of a file instead."""
        if schema not in self.pools:
            if schema:
                self.pools[schema] = compiled(self.directory, self.schemas, schema)
            else:
                self.pools[schema] = descriptor_pool.DescriptorPool(self.reflection())
        return self.pools[schema]

    def call(self, ask, request):
        """Every message of the answer."""
        if ask["method"] == "list":
            return sorted(self.reflection().get_services())
        service, name = ask["method"].split("/")
        method = self.pool(ask["schema"]).FindServiceByName(service).methods_by_name[name]
        message = json_format.Parse(request, message_factory.GetMessageClass(method.input_type)())
        streams = (method.client_streaming, method.server_streaming)
        kind = "_".join("stream" if is_stream else "unary" for is_stream in streams)
        rpc = getattr(self.channel(ask["authority"]), kind)(
            f"/{service}/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
        )
        options = {"timeout": ask["deadline"], "wait_for_ready": ask["ready"]}
        if streams == (False, False):
            crowd = [rpc.future(message, **options) for _ in range(ask["crowd"])]
            return [as_json(running.result()) for running in crowd]
        running = rpc(requests(message, ask["sends"]) if streams[0] else message, **options)
        if ask["cancel"]:
            threading.Timer(0.2, running.cancel).start()
        return [as_json(answer) for answer in running]


def compiled(directory, schemas, schema):
    """The pool of one file under the folder of schemas."""
    out = directory / f"{schema}.pb"
    if protoc.main(["protoc", f"-I{schemas}", f"--descriptor_set_out={out}", f"{schema}.proto"]) != 0:
        sys.exit(f"{schema}.proto does not compile")
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file:
        pool.Add(file)
    return pool


def requests(message, sends):
    """One message, none, or none while the call lasts."""
    if sends == "one":
        yield message
    if sends == "never":
        time.sleep(60)


def as_json(message):
    document = json_format.MessageToDict(message, always_print_fields_with_no_presence=True)
    return json.dumps(document, indent=2)


def told(error):
    """An error as grpcurl prints one."""
    name = "".join(word.capitalize() for word in error.code().name.split("_"))
    return f"ERROR:\n  Code: {'Canceled' if name == 'Cancelled' else name}\n  Message: {error.details()}\n"


def main():
    socket, directory, schemas, *uid = sys.argv[1:]
    directory = pathlib.Path(directory)
    caller = Caller(socket, directory, schemas)
    if uid:
        # Another user need not be able to read this checkout, nor this Python: a channel loads the rest of grpcio, and
        # connects only when it is used.
        caller.channel(True)
        os.setgroups([])
        os.setgid(int(uid[0]))
        os.setuid(int(uid[0]))
    for line in sys.stdin:
        out, err = "", ""
        try:
            out = "\n".join(caller.call(json.loads(line), (directory / "request").read_text())) + "\n"
        except grpc.RpcError as error:
            err = told(error)
        (directory / "out").write_text(out)
        (directory / "err").write_text(err)
        print(1 if err else 0, flush=True)
    # A request that never came still waits in a thread.
    os._exit(0)


if __name__ == "__main__":
    main()
