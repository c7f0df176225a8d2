"""The DataFile way of working, call by call: what was written for the earlier system, and what is written here.

The comment before each block names the original call; docs/arrays.md has them as a table. Everything happens on a
private server in memory and a temporary folder, and both are gone at the end.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import zarr

from measurand.client import AsyncClient, Catalog, Client, DataFile, Dataset, errors

TIME = np.linspace(0, 1e-4, 101)
IQ = np.exp(-TIME / 41e-6).astype("c8") * np.ones((200, 1), "c8")


def main() -> int:
    """Do all of it and return 0 when everything was as it should be."""
    # POST /setup, PUT /reset, data_server.json: here a private server; for many, `measurand serve --config FILE`.
    # FrontendV1, SyncFrontendV1: Client("memory:"), or Client("file:///data") for a folder that stays.
    with tempfile.TemporaryDirectory(prefix="measurand-") as folder, Client("memory:") as client:
        lab = client.create_catalog("lab", exist_ok=True)
        run = save(lab, Path(folder))
        load(lab, run, Path(folder))
        fill(lab)
        stream(lab)
        exchange(lab, Path(folder))
        search(lab)
        asyncio.run(save_awaited(Path(folder)))
    # POST /memory, DELETE /memory, POST /close: nothing to do. The `with` closed the client.
    print("all of it is as it should be")
    return 0


def save(lab: Catalog, folder: Path) -> Dataset:
    """Store measurements whole."""
    # DataFile(data=Data(handle, datasets=[DataSet.from_array("iq", x)]), metadata=MetaData(name="rabi")), then save
    run = lab.create("rabi", {"station": "atlantis-1", "f": 5.1e9}, tags=["rabi"])
    run["iq"] = IQ

    # MeasurementHandle.new(): made by the server, or named by you.
    print(run.id, lab.create("named", id="run-17").id)

    # POST /save, save_data_file(df, url, timeout=10): returns when all of it is durable, and shows all or nothing.
    (folder / "trace.csv").write_text("second,kelvin\n0,0.012\n")
    saved = lab.save(DataFile("rabi", {"f": 5.2e9}, arrays={"iq": IQ, "time": TIME}, files=[folder / "trace.csv"]))

    # save_data_file_in_background: a Future, which raises what went wrong.
    later = lab.save_in_background(DataFile("rabi", {"f": 5.3e9}, arrays={"iq": IQ}))
    print(saved.id, later.result().id)
    return saved


async def save_awaited(folder: Path) -> None:
    """Store a measurement in a program that awaits."""
    # save_data_file_async
    async with AsyncClient((folder / "data").as_uri()) as client:
        alab = await client.create_catalog("lab")
        run = await alab.save(DataFile("rabi", arrays={"iq": IQ}))
        check(await (await run.array("iq")).read(), IQ)


def load(lab: Catalog, run: Dataset, folder: Path) -> None:
    """Read what was stored, and no more of it than is needed."""
    # GET /load/{id}, and ?load_data=false: nothing is read before it is asked for.
    found = lab.get(run.id)
    print(found["iq"].shape, found["iq"].dtype, found["iq"].nbytes)
    check(found["iq"][...], IQ)

    # ?load_path=dir
    found.download_dir(folder / "dir")

    # POST /load_partial with SliceListModel
    check(found["iq"][3:7:2], IQ[3:7:2])
    parts = found.load({"time": np.s_[5:9], "iq": np.s_[-1]})
    check(parts["time"], TIME[5:9])

    # data.get_dataset(name): what is not there is a NotFound, and a KeyError.
    try:
        found["q"]
    except errors.NotFound as error:
        print(error.reason)


def fill(lab: Catalog) -> None:
    """Make an array first, and fill it by slices."""
    run = lab.create("sweep", {"flag": "none"})
    # POST /init
    iq = run.create_array("iq", IQ.shape, IQ.dtype, chunks=(50, 101), dims=("sweep", "time"), attrs={"units": "V"})
    # POST /update/data/ with slices and a callback: returns when it is durable.
    for start in range(0, len(IQ), 50):
        iq[start : start + 50] = IQ[start : start + 50]
    # POST /update/metadata/{id}: a merge patch, or all of it anew.
    run.update({"bias": 0.25})
    run.replace_metadata({"bias": 0.5, "flag": "none"})
    # POST /update/{id}
    run.update({"bias": 0.75})
    run["iq"][...] = IQ * 2
    # metadata.flag = Flags.RED, tags, comment, user
    run.update({"flag": "red", "comment": "too warm"})
    run.add_tags("bad")
    print(run.metadata, run.tags, run.created_by)
    # parents (there were none)
    print(lab.create("sweep, again", parents=[run.id]).parents)


def stream(lab: Catalog) -> None:
    """Send frames while they are measured."""
    run = lab.create("qubit T1", {"station": "atlantis-1"}, tags=["t1"])
    run["time"] = TIME
    durable: list[int] = []
    # POST /stream/start; POST /save/buffer with its index, and /buffer/saved as a callback
    with run.stream_array("iq", IQ.shape[1:], IQ.dtype, dims=("sweep", "time")) as iq:
        iq.on_durable(durable.append)
        for index in np.random.default_rng(0).permutation(len(IQ)):
            iq.write(IQ[index], index=int(index))
        iq.flush()
    # POST /stream/end, with metadata: leaving the block has waited for every frame.
    run.update({"t1_us": 41.0})
    run.seal()
    check(run["iq"][...], IQ)
    print(len(durable), run.state)


def exchange(lab: Catalog, folder: Path) -> None:
    """Take tables in, and hand arrays to other programs."""
    run = lab.create("table")
    (folder / "table.csv").write_text("f,v\n5.1e9,0.5\n5.2e9,0.25\n")
    # datasets_from_csv(path)
    run.import_csv(folder / "table.csv")
    # (there was no export); on the command line `measurand get lab/ID -o x.zarr`
    run.to_csv(folder / "again.csv")
    run.write_array("v", run["v"][:], dims=("f",), attrs={"units": "V"})
    with run.to_xarray() as view:
        print(float(view["v"].sel(f=5.11e9, method="nearest")))
        view.to_netcdf(folder / "table.nc", engine="h5netcdf")
    # get_data_group(cfg, id): needs no right to the store behind the server.
    with run.zarr_store() as store:
        print(list(zarr.open_group(store, mode="r").array_keys()))


def search(lab: Catalog) -> None:
    """Find measurements by what was measured."""
    # get_number_of_documents(cfg, q)
    print(lab.count('title =~ "(?i)rabi"'))
    # get_many_documents(cfg, q, projection)
    found = lab.find("metadata.f > 5e9", fields=["title", "metadata.f"], order_by="-created").all()
    print([one.metadata for one in found])
    # get_document(cfg, id, projection)
    print(lab.get(found[0].id, fields=["title"]).title)
    # get_many_documents_by_id(cfg, ids)
    print([one.title for one in lab.get_many([one.id for one in found])])
    # get_name_and_date, get_name_and_data_path
    print([(one.title, one.created) for one in lab.find("", fields=["title", "created"], limit=2)])
    # get_and_exclude_large_fields
    print(lab.find('tags:"t1"', fields=["-metadata.instruments", "-metadata.compiler_data"]).first())
    # {"name": {"$regex": "T1"}, "date": {"$gte": a}, "station": "atlantis-1"}
    hour_ago = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    best = lab.find(f'title =~ "T1" AND created >= "{hour_ago}" AND metadata.station = "atlantis-1"').first()
    assert best is not None
    # update_document(cfg, id, {"$set": …, "$push": …}); of a sealed dataset only the tags still change
    best.add_tags("good")
    with best.to_xarray() as view:
        print(view["iq"].sel(time=2e-5, method="nearest"))


def check(got: object, expected: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> None:
    """End the program if two arrays differ in one bit."""
    array = np.asarray(got)
    if (array.dtype, array.shape, array.tobytes()) != (expected.dtype, expected.shape, expected.tobytes()):
        raise SystemExit(f"{got!r} came back instead of {expected!r}")


if __name__ == "__main__":
    sys.exit(main())
