"""Certificates for tests, made with the `openssl` command."""

from __future__ import annotations

import subprocess
from pathlib import Path

__all__ = ["Authority"]


class Authority:
    """A certificate authority of the test's own.

    Parameters
    ----------
    folder : Path
        Where its files are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.certificate = folder / "ca.pem"
        self._key = folder / "ca.key"
        self._openssl(
            *("req", "-x509", "-subj", "/O=tests/CN=authority", "-days", "2"),
            *("-newkey", "rsa:2048", "-nodes", "-keyout", self._key, "-out", self.certificate),
        )

    def issue(self, path: Path, subject: str) -> Path:
        """Write key and certificate of a server or a user into one file, in the place of what was there.

        Parameters
        ----------
        subject : str
            Such as `/O=lab/CN=measurand`. Servers are told by the address 127.0.0.1, which all have.
        """
        key, request, certificate = (self._folder / f"{path.stem}.{end}" for end in ("key", "csr", "crt"))
        self._openssl(
            *("req", "-new", "-subj", subject, "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", request)
        )
        extensions = self._folder / "extensions"
        extensions.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n")
        self._openssl(
            *("x509", "-req", "-in", request, "-out", certificate, "-days", "2", "-extfile", extensions),
            *("-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial"),
        )
        path.write_bytes(key.read_bytes() + certificate.read_bytes())
        return path

    def _openssl(self, *arguments: str | Path) -> None:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, cwd=self._folder)
