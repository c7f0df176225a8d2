"""Documents as messages, above all the Struct form that people type into grpcurl."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest
from google.protobuf import json_format, struct_pb2
from hypothesis import given, settings
from tests.wire.awkward import DOCUMENTS, documents, nested

from measurand.v1 import common_pb2, datasets_pb2
from measurand.wire.documents import Value, encode, equal
from measurand.wire.errors import DocumentInvalid
from measurand.wire.structs import from_message, from_struct, text_of, to_message, to_struct

STRUCT, JSON = common_pb2.DOCUMENT_FORM_STRUCT, common_pb2.DOCUMENT_FORM_JSON


def as_struct_sees(value: Value) -> Value:
    """Return a value with its one loss: a double without a fraction is an integer."""
    if isinstance(value, dict):
        return {key: as_struct_sees(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_struct_sees(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53 and repr(value) != "-0.0":
        return int(value)
    return value


@pytest.mark.parametrize("name", [name for name in DOCUMENTS if "levels" not in name])
def test_a_hand_picked_document_passes_through_a_struct(name: str) -> None:
    document = DOCUMENTS[name]
    message = common_pb2.Document.FromString(to_message(document, STRUCT).SerializeToString())
    assert message.WhichOneof("form") == "fields"
    assert equal(from_message(message), as_struct_sees(document))


@settings(max_examples=200, deadline=None)
@given(documents())
def test_a_random_document_passes_through_a_struct(document: dict[str, Value]) -> None:
    assert equal(from_struct(to_struct(document)), as_struct_sees(document))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_text_form_loses_nothing(name: str) -> None:
    document = DOCUMENTS[name]
    message = common_pb2.Document.FromString(to_message(document, JSON).SerializeToString())
    assert message.WhichOneof("form") == "json"
    assert equal(from_message(message), document)
    assert text_of(message) == encode(document)


def test_what_a_person_types_is_understood() -> None:
    struct = json_format.ParseDict(
        {
            "count": 3,
            "temperature": 0.012,
            "minus": -0.0,
            "large": 1e22,
            "huge": {"$numberLong": "9007199254740993"},
            "taken": {"$date": "2026-11-21T10:25:32Z"},
            "z": {"$complex": [1, 2.5]},
            "deep": {"z": [{"$complex": [{"$numberDouble": "NaN"}, 0]}]},
            "$$date": [None, True, "x"],
        },
        struct_pb2.Struct(),
    )
    assert equal(
        from_message(common_pb2.Document(fields=struct)),
        {
            "count": 3,
            "temperature": 0.012,
            "minus": -0.0,
            "large": 1e22,
            "huge": 2**53 + 1,
            "taken": datetime(2026, 11, 21, 10, 25, 32, tzinfo=UTC),
            "z": 1 + 2.5j,
            "deep": {"z": [complex(math.nan, 0.0)]},
            "$date": [None, True, "x"],
        },
    )


def test_a_struct_reads_as_json_in_grpcurl() -> None:
    document: dict[str, Value] = {"a": [1, 2.5, None, True, {}], "b": {"c": math.nan}, "big": 2**53}
    assert json_format.MessageToDict(to_message(document, STRUCT)) == {
        "fields": {
            "a": [1.0, 2.5, None, True, {}],
            "b": {"c": {"$numberDouble": "NaN"}},
            "big": {"$numberLong": "9007199254740992"},
        }
    }


def test_an_unset_document_is_empty_and_an_empty_one_is_set() -> None:
    assert from_message(common_pb2.Document()) == {}
    assert from_message(common_pb2.Document(fields=struct_pb2.Struct())) == {}
    assert to_message({}, STRUCT).WhichOneof("form") == "fields"
    assert to_message({}, JSON).json == "{}"


def test_an_unspecified_form_is_the_struct_form() -> None:
    assert to_message('{"a":1}', common_pb2.DOCUMENT_FORM_UNSPECIFIED).WhichOneof("form") == "fields"
    assert to_message('{"a":1}', JSON).json == '{"a":1}'


def test_an_unknown_wrapper_in_a_struct_is_refused_with_its_path() -> None:
    struct = json_format.ParseDict({"a": {"$oid": "1"}}, struct_pb2.Struct())
    with pytest.raises(DocumentInvalid) as caught:
        from_struct(struct)
    assert caught.value.details["path"] == 'a."$oid"'


def test_the_deepest_struct_can_be_read_inside_the_largest_answer() -> None:
    answer = datasets_pb2.ListDatasetRevisionsResponse()
    deepest = nested(31, 1)
    answer.revisions.add().dataset.metadata.CopyFrom(to_message(deepest, STRUCT))
    received = datasets_pb2.ListDatasetRevisionsResponse.FromString(answer.SerializeToString())
    assert from_message(received.revisions[0].dataset.metadata) == deepest


def test_a_document_too_deep_for_a_struct_is_refused_and_told_of_the_other_form() -> None:
    with pytest.raises(DocumentInvalid, match="JSON form"):
        to_message(nested(32, 1), STRUCT)
    assert from_message(to_message(nested(100, 1), JSON)) == nested(100, 1)
