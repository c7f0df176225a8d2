"""Documents as messages: `Document` holds either the text of `documents` or a Struct, protobuf's own JSON.

The Struct form is for people and for programs that know no Extended JSON. What it cannot hold stands in it in the same
wrappers. It loses two things, for which read-change-writes should patch: 1.0 comes back as 1, and the order of keys.
"""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf import struct_pb2

from measurand.v1 import common_pb2
from measurand.wire import documents
from measurand.wire.errors import DocumentInvalid
from measurand.wire.values import Value

__all__ = ["MAX_STRUCT_DEPTH", "from_message", "from_struct", "text_of", "to_message", "to_struct"]

WHOLE = 1 << 53  # a double without a fraction, up to this size, is an integer
MAX_STRUCT_DEPTH = 30
"""How many levels a Struct may have: protobuf reads messages of 100 levels, and each of ours takes it three."""


def from_message(message: common_pb2.Document) -> dict[str, Value]:
    """Return the document of a message in either form; an empty message is the empty document.

    Raises
    ------
    DocumentInvalid
        DOCUMENT_INVALID: as `documents.decode`.
    """
    form = message.WhichOneof("form")
    if form == "json":
        return documents.decode(message.json)
    return from_struct(message.fields) if form == "fields" else {}


def text_of(message: common_pb2.Document) -> str:
    """Return the canonical text of the document of a message. Errors: as `from_message`."""
    return documents.encode(from_message(message))


def to_message(document: Mapping[str, Value] | str, form: int = common_pb2.DOCUMENT_FORM_JSON) -> common_pb2.Document:
    """Return the message of a document.

    Parameters
    ----------
    document : mapping or str
        The document, or its text as `documents.encode` wrote it.
    form : DocumentForm
        As the request asked; unspecified is the Struct form.

    Raises
    ------
    DocumentInvalid
        DOCUMENT_INVALID: the document is too deep for the Struct form.
    """
    if form == common_pb2.DOCUMENT_FORM_JSON:
        return common_pb2.Document(json=document if isinstance(document, str) else documents.encode(document))
    content = documents.decode(document) if isinstance(document, str) else document
    message = common_pb2.Document()
    fill_struct(message.fields, content)  # in place: a finished Struct would be copied by way of its bytes
    return message


def to_struct(document: Mapping[str, Value]) -> struct_pb2.Struct:
    """Return the Struct of a document. Errors: as `to_message`, and as `documents.encode`."""
    struct = struct_pb2.Struct()
    fill_struct(struct, document)
    return struct


def fill_struct(struct: struct_pb2.Struct, document: Mapping[str, Value]) -> None:
    struct.SetInParent()
    for key, item in documents.to_tree(document).items():
        fill(struct.fields[key], item, 1)


def fill(value: struct_pb2.Value, item: documents.Tree, depth: int) -> None:
    if isinstance(item, str):
        value.string_value = item
    elif isinstance(item, bool):
        value.bool_value = item
    elif isinstance(item, int | float):
        value.number_value = item
    elif item is None:
        value.null_value = struct_pb2.NULL_VALUE
    elif depth > MAX_STRUCT_DEPTH:
        message = (
            f"the document is too deep for the Struct form (at most {MAX_STRUCT_DEPTH} levels): ask for the JSON form"
        )
        raise DocumentInvalid(message, path="")
    elif isinstance(item, dict):
        fields = value.struct_value.fields
        value.struct_value.SetInParent()
        for key, inner in item.items():
            fill(fields[key], inner, depth + 1)
    else:
        values = value.list_value.values
        value.list_value.SetInParent()
        for inner in item:
            fill(values.add(), inner, depth + 1)


def from_struct(struct: struct_pb2.Struct) -> dict[str, Value]:
    """Return the document of a Struct, with its keys in alphabetical order. Errors: as `documents.decode`."""
    return documents.from_tree(pairs_of(struct))


def pairs_of(struct: struct_pb2.Struct) -> tuple[tuple[str, documents.Pairs], ...]:
    fields = struct.fields
    keep_doubles = len(fields) == 1 and "$complex" in fields
    return tuple((key, read(fields[key], keep_doubles)) for key in sorted(fields))


def read(value: struct_pb2.Value, keep_doubles: bool) -> documents.Pairs:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return value.string_value
    if kind == "number_value":
        number = value.number_value
        # -0.0 has no fraction either, but as an integer it would lose its sign.
        is_integer = not keep_doubles and -WHOLE <= number <= WHOLE and number.is_integer() and str(number) != "-0.0"
        return int(number) if is_integer else number
    if kind == "bool_value":
        return value.bool_value
    if kind == "struct_value":
        return pairs_of(value.struct_value)
    if kind == "list_value":
        return [read(item, keep_doubles) for item in value.list_value.values]
    return None
