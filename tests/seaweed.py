"""A real S3 server for tests: SeaweedFS on free loopback ports, which can be killed, stopped and frozen.

What it has acknowledged survives `kill`: it hands every write to the kernel before it answers. (Not the loss of power:
it syncs only what `fs.configure -fsync` says.)
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack, closing, suppress
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

__all__ = ["REGION", "Seaweed", "free_ports", "make_client", "s3_url", "shared_seaweed"]

REGION = "us-east-1"
START_SECONDS = 60.0
STOP_SECONDS = 60.0
_STARTS = 5
_LISTENERS = tuple(f"{part}.port{kind}" for part in ("master", "volume", "filer", "s3") for kind in ("", ".grpc"))


class Seaweed:
    """An S3 server over a folder, which takes writes when the constructor returns.

    Parameters
    ----------
    folder : Path
        Where its data and its log are.
    """

    access_key = "measurand"
    secret_key = "measurand-secret"  # of a server that only this machine reaches

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "data").mkdir(parents=True, exist_ok=True)
        identities = [
            _identity(self.access_key, self.secret_key, "Admin", "Read", "List", "Tagging", "Write"),
            _identity("reader", "reader-secret", "Read", "List"),
        ]
        (folder / "s3.json").write_text(json.dumps({"identities": identities}))
        for left in reversed(range(_STARTS)):
            self._ports = dict(zip(_LISTENERS, free_ports(len(_LISTENERS)), strict=True))
            try:
                self.start()
            except _Ended:  # somebody else was given one of the ports meanwhile
                if not left:
                    raise
            else:
                break

    def __repr__(self) -> str:
        return f"seaweed({str(self.folder)!r}, {self.endpoint!r})"

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._ports['s3.port']}"

    @property
    def environment(self) -> Mapping[str, str]:
        """What tells a process that it is somebody who may do everything."""
        return {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}

    @property
    def reader_environment(self) -> Mapping[str, str]:
        """What tells a process that it is somebody who may read and list, and nothing else."""
        return {"AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": "reader-secret"}

    @property
    def log(self) -> str:
        """The end of what it wrote."""
        return self._log_path.read_text(errors="replace")[-4000:]

    def url_of(self, bucket: str, prefix: str = "") -> str:
        """Return what `--blobs` takes."""
        return s3_url(self.endpoint, bucket, prefix)

    def client(self) -> Any:
        """Return a connection of the test's own, past the store; close it."""
        return make_client(self.endpoint, self.access_key, self.secret_key)

    def make_bucket(self, name: str) -> None:
        """Make a bucket; one that is there stays as it is."""
        with closing(self.client()) as client:
            known = client.exceptions
            with suppress(known.BucketAlreadyExists, known.BucketAlreadyOwnedByYou):
                client.create_bucket(Bucket=name)

    def start(self) -> None:
        """Start it, again over the same folder and ports, and return when it takes writes."""
        assert self._process is None, f"{self!r} is running"
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(Path(sys.executable).parent / "weed"),
                    *("-v=0", "-logtostderr=true", "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
                    *("-s3", f"-s3.config={self.folder / 's3.json'}", f"-dir={self.folder / 'data'}"),
                    *(f"-{flag}={port}" for flag, port in self._ports.items()),
                    *("-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"),
                    *("-master.peers=none", "-volume.preStopSeconds=0"),  # no election to wait for
                    *("-master.volumeSizeLimitMB=256", "-volume.max=1000"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "WEED_MASTER_VOLUME_GROWTH_COPY_1": "2"},  # for a new bucket; 7 take their time
                start_new_session=True,  # Ctrl-C in a terminal ends those that stand on it first
            )
        self._wait_until_ready()

    def kill(self) -> None:
        """Kill -9."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait(STOP_SECONDS)
        for port in self._ports.values():
            for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # it puts them there whatever TMPDIR says
                path.unlink(missing_ok=True)

    def stop(self) -> None:
        """End it; does nothing where it has ended. By `kill`: asked politely it does not end in a minute."""
        self.kill()

    def pause(self) -> None:
        """Freeze it: its sockets stay open and nothing comes out of them."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    @property
    def _log_path(self) -> Path:
        return self.folder / "weed.log"

    def _wait_until_ready(self) -> None:
        end = time.monotonic() + START_SECONDS
        # Impatient: after about one kill in ten the first write takes 13 s.
        with closing(make_client(self.endpoint, self.access_key, self.secret_key, seconds=2.0)) as client:
            while not (self._has_volumes() and _answers(client)):
                assert self._process is not None
                if self._process.poll() is not None:
                    self.kill()
                    raise _Ended(f"{self!r} ended: {self.log}")
                if time.monotonic() > end:
                    self.kill()
                    raise _Ended(f"{self!r} does not start: {self.log}")
                time.sleep(0.02)

    def _has_volumes(self) -> bool:
        """Tell whether its parts have found each other: before that it answers and cannot write."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._ports['master.port']}/dir/status", timeout=5) as page:
                return bool(json.load(page)["Topology"]["Max"])
        except (OSError, ValueError, KeyError):
            return False


class _Ended(AssertionError):
    """The process has ended by itself."""


@cache
def shared_seaweed() -> Seaweed:
    """Return the one of this process, started at its first use; give each test a prefix of its own."""
    folder = Path(tempfile.mkdtemp(prefix="seaweed-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    seaweed = Seaweed(folder)
    atexit.register(seaweed.stop)  # before the folder goes: the last registered is called first
    return seaweed


def s3_url(endpoint: str, bucket: str, prefix: str = "") -> str:
    """Return what `--blobs` takes for a place in an S3 store."""
    place = f"{bucket}/{prefix}" if prefix else bucket
    return f"s3://{place}?{urlencode({'endpoint': endpoint, 'region': REGION}, safe=':/')}"


def make_client(endpoint: str, access_key: str, secret_key: str, *, seconds: float = 20.0) -> Any:
    """Return a connection to any S3 store; close it."""
    return botocore.session.Session().create_client(
        "s3",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            connect_timeout=5,
            read_timeout=seconds,
            retries={"total_max_attempts": 1},
        ),
    )


def _answers(client: Any) -> bool:
    """Tell whether it answers, and takes writes where there is a bucket: after a kill that may come a while later."""
    try:
        for bucket in client.list_buckets()["Buckets"][:1]:
            client.put_object(Bucket=bucket["Name"], Key=".ready", Body=b"ready")
            client.delete_object(Bucket=bucket["Name"], Key=".ready")
    except (BotoCoreError, ClientError):
        return False
    return True


def _identity(access_key: str, secret_key: str, *actions: str) -> dict[str, object]:
    credentials = [{"accessKey": access_key, "secretKey": secret_key}]
    return {"name": access_key, "credentials": credentials, "actions": actions}


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback address that nobody listened at just now."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [int(listener.getsockname()[1]) for listener in listeners]
