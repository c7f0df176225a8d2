"""Server reflection, so that grpcurl and its like need no proto files.

grpcio-reflection serves v1alpha only, and does not find the file of a method. Both are mended here: v1 is the same
messages under another package, and a method is looked for in the service it belongs to.
"""

from __future__ import annotations

from collections.abc import Sequence

import grpc
import grpc.aio
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pool import Default, DescriptorPool
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

__all__ = ["V1", "V1ALPHA", "add_reflection"]

V1ALPHA = "grpc.reflection.v1alpha.ServerReflection"
V1 = "grpc.reflection.v1.ServerReflection"


def add_reflection(server: grpc.aio.Server, services: Sequence[str]) -> None:
    """Put both versions of the reflection service into a server; they list `services` and themselves."""
    servicer = reflection.aio.ReflectionServicer((*services, V1ALPHA, V1), pool=_Pool())
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(V1, {"ServerReflectionInfo": handler})])


class _Pool:
    """The process's descriptors and those of reflection v1, as far as the reflection servicer asks for them."""

    def __init__(self) -> None:
        self._process = Default()
        self._v1 = DescriptorPool()
        self._v1.Add(_v1_file())

    def FindFileByName(self, name: str) -> FileDescriptor:  # protobuf's own name, like the next ones
        try:
            return self._process.FindFileByName(name)
        except KeyError:
            return self._v1.FindFileByName(name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:
        for pool in (self._process, self._v1):
            try:
                return pool.FindFileContainingSymbol(symbol)
            except KeyError:
                pass
            try:
                return pool.FindMethodByName(symbol).containing_service.file
            except KeyError:
                pass
        raise KeyError(symbol)

    def FindMessageTypeByName(self, name: str) -> Descriptor:
        return self._process.FindMessageTypeByName(name)

    def FindExtensionByNumber(self, message: Descriptor, number: int) -> FieldDescriptor:
        return self._process.FindExtensionByNumber(message, number)

    def FindAllExtensions(self, message: Descriptor) -> Sequence[FieldDescriptor]:
        return self._process.FindAllExtensions(message)


def _v1_file() -> descriptor_pb2.FileDescriptorProto:
    """Return the file of v1alpha under the name and package of v1, to which it is equal otherwise."""
    file = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(file)
    file.name = "grpc/reflection/v1/reflection.proto"
    file.package = "grpc.reflection.v1"
    for message in file.message_type:
        for field in message.field:
            if field.type_name:  # else it is of a plain type
                field.type_name = _in_v1(field.type_name)
    for method in file.service[0].method:
        method.input_type = _in_v1(method.input_type)
        method.output_type = _in_v1(method.output_type)
    return file


def _in_v1(name: str) -> str:
    return name.replace(".grpc.reflection.v1alpha.", ".grpc.reflection.v1.")
