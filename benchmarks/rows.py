"""The rows: what is measured, against whom, and what is to be reached."""

from __future__ import annotations

from benchmarks import arrays, components, datasets, product, starting
from benchmarks.buffer_rows import BUFFER_ROWS
from benchmarks.container_rows import CONTAINER_ROWS
from benchmarks.data import GiB, KiB, MiB
from benchmarks.harness import PRODUCT, Contender, Make, Row
from benchmarks.object_rows import OBJECT_ROWS
from benchmarks.peers import files, flight, minio, tiled
from benchmarks.placement_rows import PLACEMENT_ROWS
from benchmarks.registry_rows import REGISTRY_ROWS

__all__ = ["ROWS"]

SIZE = 256 * MiB
MANY = (1000, 16 * KiB, 16)
FEW = (100, 16 * KiB, 16)
FOLDER = (10_000, 4 * KiB)


def grown(make: object, *more: object) -> tuple[Contender, ...]:
    """Return the product among a million datasets, and beside it among fewer: the cost of growth."""
    assert callable(make)
    sizes = ((PRODUCT, 1_000_000), ("at 1,000", 1000), ("at 10,000", 10_000), ("at 100,000", 100_000))
    return tuple(Contender(name, make, (size, *more)) for name, size in sizes)


def asked(name: str, question: str) -> Row:
    """Return the row of a question about a million components, on both document stores."""
    whole, less = 1_000_000, 10_000
    contenders = (
        Contender(PRODUCT, components.search, (whole, "mongodb", question)),
        Contender("at 10,000", components.search, (less, "mongodb", question)),
        Contender("on SQLite", components.search, (whole, "disk", question)),
        Contender("on SQLite at 10,000", components.search, (less, "disk", question)),
        Contender("regex", components.regex, (whole, question), every=3),
    )
    return Row(
        name,
        f"20 of a million components by {question}, p95; beside it regular expressions without an index",
        "ms",
        contenders,
        rounds=3,
        smaller_is_better=True,
        targets={PRODUCT: 20, "at 10,000": 0.8},
        is_long=True,
        needs=["mongod"],
    )


def in_mongodb(name: str, says: str, make: Make) -> Row:
    """Return the row of a search among a million datasets in MongoDB."""
    return Row(
        name,
        says,
        "ms",
        (Contender(PRODUCT, make, (1_000_000, "mongodb")), Contender("at 10,000", make, (10_000, "mongodb"))),
        rounds=3,
        smaller_is_better=True,
        targets={PRODUCT: 20, "at 10,000": 0.8},
        is_long=True,
        needs=["mongod"],
    )


ROWS = (
    Row(
        "put",
        "a file of 256 MiB, durable, one stream, to the local disk",
        "GB/s",
        (
            Contender(PRODUCT, product.put, (SIZE, "disk")),
            Contender("flight", flight.put, (SIZE, "disk")),
            Contender("files", files.put, (SIZE,)),
            Contender("tiled", tiled.put, (SIZE,), every=5),
        ),
        targets={"flight": 1.0, "files": 0.8, "tiled": 5.0},
    ),
    Row(
        "get",
        "256 MiB into a buffer that is there",
        "GB/s",
        (
            Contender(PRODUCT, product.get, (SIZE, "disk")),
            Contender("flight", flight.get, (SIZE, "disk")),
            Contender("files", files.get, (SIZE,)),
            Contender("tiled", tiled.get, (SIZE,), every=5),
        ),
        targets={"flight": 0.8, "tiled": 5.0},
    ),
    Row(
        "put-memory",
        "256 MiB into the memory store",
        "GB/s",
        (Contender(PRODUCT, product.put, (SIZE, "memory")), Contender("flight", flight.put, (SIZE, "memory"))),
        targets={PRODUCT: 2.0},
    ),
    Row(
        "get-memory",
        "256 MiB out of the memory store",
        "GB/s",
        (Contender(PRODUCT, product.get, (SIZE, "memory")), Contender("flight", flight.get, (SIZE, "memory"))),
        targets={PRODUCT: 3.5},
    ),
    Row(
        "put-small",
        "1000 files of 16 KiB, durable, 16 callers, a call each",
        "a second",
        (
            Contender(PRODUCT, product.put_many, MANY),
            Contender("flight", flight.put_many, MANY),
            Contender("files", files.put_many, MANY),
            Contender("tiled", tiled.put_many, FEW, every=5),
        ),
        targets={"flight": 1.0},
    ),
    Row(
        "get-small",
        "1000 files of 16 KiB, 16 callers, a call each",
        "a second",
        (
            Contender(PRODUCT, product.get_many, MANY),
            Contender("flight", flight.get_many, MANY),
            Contender("files", files.get_many, MANY),
            Contender("tiled", tiled.get_many, FEW, every=5),
        ),
        targets={"flight": 1.0},
    ),
    Row(
        "put-folder",
        "`upload_dir` of 10,000 files of 4 KiB, durable",
        "a second",
        (
            Contender(PRODUCT, product.put_folder, FOLDER),
            Contender("flight", flight.put_many, (*FOLDER, 16)),
            Contender("files", files.put_many, (*FOLDER, 16)),
        ),
        rounds=3,
        targets={PRODUCT: 10_000},
    ),
    Row(
        "get-folder",
        "`download_dir` of 10,000 files of 4 KiB",
        "a second",
        (Contender(PRODUCT, product.get_folder, FOLDER), Contender("flight", flight.get_many, (*FOLDER, 16))),
        rounds=3,
        targets={PRODUCT: 10_000},
    ),
    Row(
        "create",
        "datasets with a little metadata, durable, over 16 connections",
        "a second",
        (
            Contender(PRODUCT, datasets.create, (2000, 16)),
            Contender("tiled", tiled.create, (100, 16), every=5),
        ),
        targets={PRODUCT: 1000},
    ),
    Row(
        "search",
        "20 of 2,000 datasets by a range of one value, p95",
        "ms",
        (Contender(PRODUCT, datasets.search, (2000,)), Contender("tiled", tiled.search, (2000,))),
        smaller_is_better=True,
        targets={PRODUCT: 20},
    ),
    Row(
        "search-million",
        "20 of a million datasets by a range of one value, p95; beside it among fewer",
        "ms",
        grown(datasets.search),
        smaller_is_better=True,
        targets={PRODUCT: 20, "at 1,000": 0.8, "at 10,000": 0.8, "at 100,000": 0.8},
        is_long=True,
    ),
    Row(
        "search-narrow",
        "the 20 newest of a million datasets that meet two wide restrictions, p95; beside it among fewer",
        "ms",
        grown(datasets.search_narrow),
        smaller_is_better=True,
        targets={PRODUCT: 20, "at 1,000": 0.8, "at 10,000": 0.8, "at 100,000": 0.8},
        is_long=True,
    ),
    Row(
        "list-million",
        "the 20 newest of a million datasets, p95; beside it among fewer",
        "ms",
        grown(datasets.list_page),
        smaller_is_better=True,
        targets={PRODUCT: 20, "at 1,000": 0.8, "at 10,000": 0.8, "at 100,000": 0.8},
        is_long=True,
    ),
    Row(
        "create-million",
        "datasets beside a million others, over 16 connections; beside it among fewer",
        "a second",
        grown(datasets.create_among, 2000, 16),
        targets={PRODUCT: 1000, "at 1,000": 0.8, "at 10,000": 0.8, "at 100,000": 0.8},
        is_long=True,
    ),
    Row(
        "put-s3",
        "a file of 256 MiB through a server to S3; beside it straight to S3",
        "GB/s",
        (Contender(PRODUCT, product.put, (SIZE, "s3")), Contender("minio-py", minio.put, (SIZE,))),
        targets={"minio-py": 0.95},
        needs=["s3"],
    ),
    Row(
        "get-s3",
        "256 MiB through a server from S3 into a buffer that is there; beside it straight from S3",
        "GB/s",
        (Contender(PRODUCT, product.get, (SIZE, "s3")), Contender("minio-py", minio.get, (SIZE,))),
        targets={"minio-py": 0.95},
        needs=["s3"],
    ),
    Row(
        "put-small-s3",
        "1000 files of 16 KiB to S3, 16 callers, a call each",
        "a second",
        (Contender(PRODUCT, product.put_many, (*MANY, "s3")), Contender("minio-py", minio.put_many, MANY)),
        rounds=3,
        targets={"minio-py": 0.95},
        needs=["s3"],
    ),
    Row(
        "get-small-s3",
        "1000 files of 16 KiB from S3, 16 callers, a call each",
        "a second",
        (Contender(PRODUCT, product.get_many, (*MANY, "s3")), Contender("minio-py", minio.get_many, MANY)),
        rounds=3,
        targets={"minio-py": 0.95},
        needs=["s3"],
    ),
    Row(
        "create-mongodb",
        "datasets with a little metadata in MongoDB, over 16 connections to one server; beside it to two servers",
        "a second",
        (
            Contender(PRODUCT, datasets.create, (2000, 16, "mongodb")),
            Contender("two servers", datasets.create, (2000, 16, "mongodb", 2)),
        ),
        targets={PRODUCT: 1000},
        needs=["mongod"],
    ),
    in_mongodb(
        "search-million-mongodb", "20 of a million datasets in MongoDB by a range of one value, p95", datasets.search
    ),
    in_mongodb("search-narrow-mongodb", "the 20 newest that meet two wide restrictions, p95", datasets.search_narrow),
    in_mongodb("list-million-mongodb", "the 20 newest of a million datasets in MongoDB, p95", datasets.list_page),
    asked("component-instance", "instance"),
    asked("component-name", "name"),
    asked("component-run", "run"),
    asked("component-hash", "hash"),
    asked("component-file", "file"),
    asked("component-newest", "newest"),
    Row(
        "component-count",
        "counting 10,000 of a million components by stage and name, p95",
        "ms",
        (
            Contender(PRODUCT, components.count_all, (1_000_000, "mongodb")),
            Contender("at 10,000", components.count_all, (10_000, "mongodb")),
            Contender("on SQLite", components.count_all, (1_000_000, "disk")),
        ),
        rounds=3,
        smaller_is_better=True,
        targets={PRODUCT: 100},
        is_long=True,
        needs=["mongod"],
    ),
    Row(
        "array-write",
        "the stack of images (60, 1065, 1030) of float32 whole, durable",
        "GB/s",
        (Contender(PRODUCT, arrays.write), Contender("tiled", arrays.write_tiled, every=5)),
        targets={"tiled": 5.0},
    ),
    Row(
        "array-read",
        "the stack whole, into an array that is there",
        "s",
        (Contender(PRODUCT, arrays.read), Contender("tiled", arrays.read_tiled, every=5)),
        smaller_is_better=True,
        targets={PRODUCT: 1.0, "tiled": 5.0},
    ),
    Row(
        "array-frame",
        "one image of the stack, 4.4 MB; beside it as many bytes of a file through Arrow Flight",
        "ms",
        (
            Contender(PRODUCT, arrays.read_frame),
            Contender("flight", arrays.read_frame_flight),
            Contender("tiled", arrays.read_frame_tiled, every=5),
        ),
        smaller_is_better=True,
        targets={PRODUCT: 20, "tiled": 5.0},
    ),
    Row(
        "array-get",
        "256 MiB that nobody can compress, into an array that is there; beside it a file through Arrow Flight",
        "GB/s",
        (Contender(PRODUCT, arrays.read_plain, (SIZE,)), Contender("flight", flight.get, (SIZE, "disk"))),
        targets={"flight": 0.8},
    ),
    Row(
        "array-stream",
        "200 raw detector frames of 2 MiB, 16 bits a pixel, compressed and durable, from one client",
        "MB/s",
        (Contender(PRODUCT, arrays.stream, (200,)), Contender("on S3", arrays.stream, (200, "s3"))),
        targets={PRODUCT: 300},
        needs=["s3"],
    ),
    Row(
        "array-parallel",
        "an array of 256 MiB filled plane by plane by 4 processes; beside it by one",
        "MB/s",
        (Contender(PRODUCT, arrays.fill, (4,)), Contender("one process", arrays.fill, (1,))),
        rounds=3,
    ),
    Row(
        "array-open",
        "opening 1,000 arrays of 1 GiB that were never written, each",
        "ms",
        (Contender(PRODUCT, arrays.open_many, (1000,)),),
        rounds=3,
        smaller_is_better=True,
    ),
    Row(
        "array-live",
        "from the flush of a frame to its being seen by a watcher, 200 frames of 64 KiB a second, p95",
        "ms",
        (Contender(PRODUCT, arrays.live, (200.0, 10.0)),),
        rounds=3,
        smaller_is_better=True,
        targets={PRODUCT: 200},
    ),
    Row(
        "array-chunk",
        "one chunk of 100,000; beside it of 1,000",
        "ms",
        (Contender(PRODUCT, arrays.chunk_among, (100_000,)), Contender("of 1,000", arrays.chunk_among, (1000,))),
        rounds=3,
        smaller_is_better=True,
        targets={"of 1,000": 0.8},
    ),
    Row(
        "array-memory",
        "most that the server holds, or the client more than before, while 10 GiB are streamed in and read back",
        "MiB",
        (Contender(PRODUCT, arrays.memory, (10 * GiB,)),),
        rounds=1,
        smaller_is_better=True,
        targets={PRODUCT: 400},
        is_long=True,
    ),
    *BUFFER_ROWS,
    *CONTAINER_ROWS,
    *OBJECT_ROWS,
    *PLACEMENT_ROWS,
    *REGISTRY_ROWS,
    Row(
        "memory",
        "most resident memory of the server while 16 streams of 1 GiB run",
        "MiB",
        (Contender(PRODUCT, product.memory, (16, GiB)),),
        rounds=1,
        smaller_is_better=True,
        targets={PRODUCT: 400},
        is_long=True,
    ),
    Row(
        "start",
        "from nothing to an empty store and health SERVING",
        "s",
        (Contender(PRODUCT, starting.serve), Contender("tiled", starting.serve_tiled)),
        smaller_is_better=True,
        targets={PRODUCT: 1.0},
    ),
    Row(
        "help",
        "`measurand --help`; beside it Python alone",
        "s",
        (Contender(PRODUCT, starting.run, starting.HELP), Contender("python", starting.run, starting.PYTHON)),
        smaller_is_better=True,
        targets={PRODUCT: 0.3},
    ),
)
