"""What users were promised about mistakes (ME-35): each has an error with a name, which shows what was wrong."""

from __future__ import annotations

import traceback
from collections.abc import Callable

import pytest

from measurand.client import Catalog, Client, Dataset, errors

MISTAKES: dict[str, tuple[Callable[[Client, Catalog, Dataset], object], type[errors.MeasurandError], str]] = {
    "a catalog that is not there": (lambda c, lab, run: c.catalog("no-lab"), errors.NotFound, "no-lab"),
    "a catalog of a wrong name": (lambda c, lab, run: c.create_catalog("My Lab"), errors.NameInvalid, "My Lab"),
    "a catalog that is there": (lambda c, lab, run: c.create_catalog(lab.id), errors.AlreadyExists, ""),
    "a dataset that is not there": (lambda c, lab, run: lab.get("no-run"), errors.NotFound, "no-run"),
    "a dataset of a wrong name": (lambda c, lab, run: lab.get("Run 7?"), errors.NameInvalid, "Run 7?"),
    "a dataset that is there": (lambda c, lab, run: lab.create("x", id=run.id), errors.AlreadyExists, ""),
    "one of many that is not there": (lambda c, lab, run: lab.get_many([run.id, "gone"]), errors.NotFound, "gone"),
    "a wrong kind": (lambda c, lab, run: lab.create("x", kind="k\tind"), errors.InvalidArgument, "kind"),
    "a wrong tag": (lambda c, lab, run: run.add_tags("bad\ttag"), errors.InvalidArgument, "bad\\ttag"),
    "a parent that is not there": (lambda c, lab, run: lab.create("x", parents=["orphan"]), errors.NotFound, "orphan"),
    "metadata that no document holds": (
        lambda c, lab, run: lab.create("x", {"deep": {"bad": object()}}),
        errors.DocumentInvalid,
        "deep.bad",
    ),
    "a key with a NUL": (lambda c, lab, run: lab.create("x", {"a": {"k\0": 1}}), errors.DocumentInvalid, "k"),
    "a document too large": (
        lambda c, lab, run: lab.create("x", {"x": "y" * (4 << 20)}),
        errors.TooLarge,
        "4194304",
    ),
    "a filter cut short": (lambda c, lab, run: lab.find("metadata.x =").all(), errors.FilterInvalid, "position 12"),
    "a lower-case word in a filter": (lambda c, lab, run: lab.count("id:* and kind:*"), errors.FilterInvalid, "and"),
    "an expression that is none": (lambda c, lab, run: lab.count('title =~ "(x"'), errors.FilterInvalid, "(x"),
    "an order that is none": (lambda c, lab, run: lab.find(order_by="title down").all(), errors.FilterInvalid, "down"),
    "a page of no size": (lambda c, lab, run: lab.find(page_size=5000).all(), errors.InvalidArgument, "5000"),
    "fields of both sorts": (lambda c, lab, run: lab.find(fields=["-x", "y"]).all(), errors.InvalidArgument, "-x"),
    "an old etag": (lambda c, lab, run: run.update({"a": 1}, if_match='"stale"'), errors.Conflict, ""),
    "a revision that never was": (lambda c, lab, run: run.at(999), errors.NotFound, "999"),
    "a file that is not there": (lambda c, lab, run: run.read_bytes("no.npy"), errors.NotFound, "no.npy"),
    "a file of a hostile name": (lambda c, lab, run: run.write_bytes("../up", b""), errors.NameInvalid, "../up"),
    "a read behind the end": (lambda c, lab, run: run.read_bytes("six", offset=700), errors.OutOfRange, "700"),
    "an old generation": (lambda c, lab, run: run.write_bytes("six", b"", if_generation=5), errors.Conflict, "5"),
    "no server": (lambda c, lab, run: Client("127.0.0.1:1").catalogs(), errors.Unavailable, "127.0.0.1:1"),
    "an address that is none": (lambda c, lab, run: Client("ftp://lab"), errors.InvalidArgument, "ftp://lab"),
}
"""What somebody does, the error, and what it must show. Nothing there: the name of what it was done to."""


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_has_a_named_error_that_shows_what_was_wrong(client: Client, lab: Catalog, mistake: str) -> None:
    run = lab.create("run")
    run.write_bytes("six", b"123456")
    call, kind, shown = MISTAKES[mistake]
    with pytest.raises(kind) as caught:
        call(client, lab, run)
    error = caught.value
    text = str(error)
    assert error.reason.isupper()
    assert (shown or (lab.id if "catalog" in mistake else run.id)) in text
    assert "RpcError" not in text and "Traceback" not in text


@pytest.mark.stores("embedded")  # no store has a part in it
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_stack_trace_shows_no_internals_of_grpc(client: Client, lab: Catalog, mistake: str) -> None:
    run = lab.create("run")
    run.write_bytes("six", b"123456")
    call, kind, _ = MISTAKES[mistake]
    with pytest.raises(kind) as caught:
        call(client, lab, run)
    printed = "".join(traceback.format_exception(caught.value))
    assert "/grpc/" not in printed
    assert "RpcError" not in printed and "debug_error_string" not in printed
