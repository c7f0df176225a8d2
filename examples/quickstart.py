"""A short day at the instruments: measurements go in while they are taken, are found by what was measured, come back.

`scripts/quickstart` runs this. It keeps everything in a temporary folder and takes it all away at the end.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from measurand.client import Client

FRAME = (1024, 1024)
RUNS = 4
SMALL_FILES = 600
STRAIN_RATE = 16_384
STRAIN_SECONDS = 64


def main() -> int:
    """Play the day and return 0 when every byte came back."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=256, help="how much the detector delivers (default: 256)")
    megabytes = max(RUNS * 2, parser.parse_args().megabytes)

    with tempfile.TemporaryDirectory(prefix="measurand-") as folder:
        taken, stored, back = (Path(folder) / name for name in ("taken", "stored", "back"))
        with stage("taking measurements: detector frames, a strain series, a folder of instrument files"):
            take_frames(taken / "frames", frames=megabytes // 2 // RUNS)
            take_strain(taken / "strain")
            take_small_files(taken / "cryostat")
        with stage("starting a server on an empty folder: SQLite and plain files, nothing else"):
            process, address = start_server(stored)
        try:
            with Client(address) as client:
                play(client, taken, back)
            wrong = differences(taken, back)
        finally:
            process.terminate()
            process.wait(timeout=60)
    if wrong:
        print(f"\n{len(wrong)} files came back different, such as {wrong[0]}", file=sys.stderr)
        return 1
    print("\nEvery byte came back as it went in. The server is stopped and the folder is gone.")
    print("Next: docs/getting-started.md")
    return 0


def play(client: Client, taken: Path, back: Path) -> None:
    """Stream everything in, find some of it, read all of it back."""
    lab = client.create_catalog("lab")

    with stage("streaming detector runs in, frame by frame", of=taken / "frames"):
        for number, path in enumerate(sorted((taken / "frames").iterdir())):
            run = lab.create(
                f"powder diffraction, run {number}",
                {"detector": {"exposure_ms": 20 * (number + 1), "gain (dB)": 6.0}, "temperature": 4.2 + 95 * number},
                kind="run",
                tags=["detector", "powder"],
            )
            with run.stream_array("frames", frame_shape=FRAME, dtype="u2", dims=("frame", "y", "x")) as frames:
                for frame in np.load(path, mmap_mode="r"):
                    frames.write(frame)

    with stage(f"writing {STRAIN_SECONDS} s of strain at {STRAIN_RATE} Hz", of=taken / "strain"):
        strain = lab.create("strain, H1", {"rate": STRAIN_RATE, "injected": "chirp"}, kind="series", tags=["strain"])
        strain["h1"] = np.load(taken / "strain/h1.npy")

    with stage(f"streaming a folder of {SMALL_FILES} small files in", of=taken / "cryostat"):
        cryostat = lab.create("cryostat, one night", {"fridge": "BF4"}, kind="log", tags=["slow-control"])
        cryostat.upload_dir(taken / "cryostat")

    question = 'tags:"powder" AND metadata.temperature < 100 AND metadata.detector.exposure_ms <= 40'
    with stage(f"finding: {question}"):
        found = list(lab.find(question, order_by="-metadata.temperature"))
    for run in found:
        print(f"            {run.title}: {run.metadata['temperature']} K, {run.arrays()}")
    if [run.metadata["temperature"] for run in found] != [99.2, 4.2]:
        raise SystemExit("the search did not find the two cold runs")

    stored = found[0]["frames"]
    with stage("reading every fourth pixel of one frame out of the middle of a run"):
        frame = stored[len(stored) // 2, ::4, ::4]
    print(f"            frame {len(stored) // 2} of {len(stored)}: {frame.sum():,} photons in {frame.shape}")

    with stage("reading everything back", of=taken):
        for place in ("frames", "strain"):
            (back / place).mkdir(parents=True)
        for number, run in enumerate(lab.find('tags:"powder"', order_by="created")):
            np.save(back / f"frames/run-{number}.npy", run["frames"][...])
        np.save(back / "strain/h1.npy", strain["h1"][...])
        cryostat.download_dir(to=back / "cryostat")


# ------------------------------------------------------------------------------------------------------ the instruments


def take_frames(folder: Path, *, frames: int) -> None:
    """Save runs of detector frames: photon counts of powder rings around a beam stop, as uint16."""
    folder.mkdir(parents=True)
    y, x = np.indices(FRAME)
    radius = np.hypot(y - FRAME[0] / 2 - 12.5, x - FRAME[1] / 2 + 7.25)
    rings = sum(np.exp(-(((radius - ring) / 6) ** 2)) for ring in (90, 151, 203, 287, 344, 410))
    brightness = (0.4 + 9 * rings * np.exp(-radius / 300)) * (radius > 25)

    def take(number: int) -> None:
        chance = np.random.default_rng(number)
        run = np.empty((frames, *FRAME), np.uint16)
        for frame in run:
            frame[...] = chance.poisson(brightness * (number + 1))
        np.save(folder / f"run-{number}.npy", run)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(take, range(RUNS)))


def take_strain(folder: Path) -> None:
    """Save a strain series: noise that is strong at low frequencies, and a chirp far below it."""
    folder.mkdir(parents=True)
    chance = np.random.default_rng(1187008882)
    spectrum = np.fft.rfft(chance.normal(size=STRAIN_RATE * STRAIN_SECONDS))
    frequency = np.fft.rfftfreq(STRAIN_RATE * STRAIN_SECONDS, 1 / STRAIN_RATE)
    noise = np.fft.irfft(spectrum / (1 + (200 / np.maximum(frequency, 10)) ** 2) * 1e-21)
    left = np.maximum(STRAIN_SECONDS - 4 - np.arange(noise.size) / STRAIN_RATE, 0)
    chirp = 1e-22 * np.sin(-2 * np.pi * 220 * left ** (5 / 8)) * (left > 0) * (left < 32)
    np.save(folder / "h1.npy", noise + chirp)


def take_small_files(folder: Path) -> None:
    """Save what an instrument leaves behind in a night: a table and its settings for each measurement."""
    chance = np.random.default_rng(4)
    for number in range(SMALL_FILES // 2):
        place = folder / f"hour-{number * 12 // (SMALL_FILES // 2):02}"
        place.mkdir(parents=True, exist_ok=True)
        lines = [f"{time},{value:.6f}" for time, value in enumerate(0.012 + 1e-4 * chance.normal(size=150))]
        (place / f"{number:04}.csv").write_text("second,kelvin\n" + "\n".join(lines) + "\n")
        (place / f"{number:04}.json").write_text(json.dumps({"channel": number % 8, "heater": chance.random()}))


# ------------------------------------------------------------------------------------------------------------- helpers


def start_server(folder: Path) -> tuple[subprocess.Popen[str], str]:
    """Start `measurand serve` on any free port and return it with its address."""
    command = [str(Path(sys.executable).with_name("measurand")), "serve", "--data", str(folder)]
    command += ["--listen", "127.0.0.1:0", "--http", "off"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("listening on "):
            return process, line.split()[2]
    raise SystemExit(f"the server ended with {process.wait()} before it listened")


@contextmanager
def stage(says: str, *, of: Path | None = None) -> Iterator[None]:
    """Tell what is being done, and how long it took; and how fast, where the size of a folder says that."""
    begin = time.perf_counter()
    yield
    took = time.perf_counter() - begin
    speed = ""
    if of is not None:
        files = [path for path in of.rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files) / 1e6
        speed = f" ({len(files):,} files, {size:,.1f} MB: {size / took:,.0f} MB/s, {len(files) / took:,.0f} files/s)"
    print(f"{took:8.3f} s  {says}{speed}", flush=True)


def differences(one: Path, other: Path) -> list[str]:
    """Return the files that are not byte for byte the same in both folders."""
    names = {path.relative_to(top).as_posix() for top in (one, other) for path in top.rglob("*") if path.is_file()}
    return sorted(name for name in names if not same(one / name, other / name))


def same(one: Path, other: Path) -> bool:
    """Tell whether both files are there and hold the same bytes."""
    return one.is_file() and other.is_file() and one.read_bytes() == other.read_bytes()


if __name__ == "__main__":
    sys.exit(main())
