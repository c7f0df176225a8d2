"""Reading what lies in S3: past the servers where that is allowed, and from a disk of this machine."""

from __future__ import annotations

import os
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest
from tests.stores import Site

from measurand.client import Client
from measurand.client.errors import FailedPrecondition, FeatureDisabled

pytestmark = pytest.mark.stores("fleet")
MiB = 1 << 20


def test_a_reader_gets_urls_and_reads_past_the_server(site: Site) -> None:
    data = os.urandom(7 * MiB + 5)
    with site.running("--config", settings(site, 'direct_reads = "10m"')) as server, Client(server.address) as client:
        run = client.create_catalog("lab").create("run")
        run.write_bytes("frames.bin", data)
        run.write_bytes("small.txt", b"small")
        place = run.locate("frames.bin", lifetime=60)
        assert place.file.size == sum(size for _, size in place.spans) == len(data)
        assert place.expires is not None
        assert place.expires - datetime.now(UTC) <= timedelta(seconds=61)
        assert b"".join(fetch(url, size) for url, size in place.spans) == data
        assert "direct_reads" in client.server()["features"]
        with pytest.raises(FailedPrecondition, match="read it through the server"):
            run.locate("small.txt")


def test_nobody_gets_urls_unless_the_operator_allows_it(site: Site) -> None:
    with site.running() as server, Client(server.address) as client:
        run = client.create_catalog("lab").create("run")
        run.write_bytes("frames.bin", bytes(2 * MiB))
        assert "direct_reads" not in client.server()["features"]
        with pytest.raises(FeatureDisabled):
            run.locate("frames.bin")


def test_what_is_read_is_kept_on_disk_and_proved_when_it_is_read_again(site: Site) -> None:
    data = os.urandom(5 * MiB + 3)
    options = ("--config", settings(site, 'cache_bytes = "64 MiB"'), "--http", "127.0.0.1:0")
    with site.running(*options) as server, Client(server.address) as client:
        run = client.create_catalog("lab").create("run")
        run.write_bytes("frames.bin", data)
        assert run.read_bytes("frames.bin") == data
        assert run.read_bytes("frames.bin") == data
        assert figure(server.page("/metrics"), "measurand_cache_hit_bytes_total") >= len(data)
        kept = [
            path for path in (site.folder / "cache").rglob("*") if path.is_file() and path.stat().st_size > MiB // 2
        ]
        assert kept
        for path in kept:
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
        assert run.read_bytes("frames.bin") == data


def settings(site: Site, line: str) -> str:
    site.folder.mkdir(parents=True, exist_ok=True)
    file = site.folder / "measurand.toml"
    file.write_text(line + "\n")
    return str(file)


def fetch(url: str, size: int) -> bytes:
    request = urllib.request.Request(url, headers={"Range": f"bytes=0-{size - 1}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return bytes(answer.read())


def figure(page: str, name: str) -> float:
    return sum(float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith(name))
