"""MongoDB that lets nobody in without a password or a certificate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.certificates import Authority
from tests.mongod import Mongod

__all__ = ["Secured", "guarded_mongod", "make_keyfile"]


def make_keyfile(folder: Path) -> Path:
    """Write what the members of a replica set know each other by; there must be one where users have to log in."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "keyfile"
    path.write_text("x" * 64)
    path.chmod(0o600)
    return path


def guarded_mongod(folder: Path, user: str, password: str, *, database: str = "lab") -> Mongod:
    """Start a deployment with a user who may write to one database."""
    mongod = Mongod(folder, options=["--auth", "--keyFile", str(make_keyfile(folder))])
    try:
        with mongod.client() as client:
            client.admin.command("createUser", "root", pwd="root", roles=["root"])
        with mongod.client(username="root", password="root") as client:
            roles = [{"role": "readWrite", "db": database}]
            client.admin.command("createUser", user, pwd=password, roles=roles)
    except BaseException:
        mongod.stop()
        raise
    return mongod


class Secured:
    """A deployment that lets in by certificate only, over TLS.

    Parameters
    ----------
    names : sequence of str
        The users: `/O=lab/CN=<name>`, who may write to the database `lab`. The first has its certificate in `user`.
    """

    def __init__(self, folder: Path, names: Sequence[str] = ("measurand", "successor")) -> None:
        self.authority = Authority(folder / "authority")
        self.user = self.authority.issue(folder / "user.pem", f"/O=lab/CN={names[0]}")
        server = self.authority.issue(folder / "server.pem", "/O=servers/CN=mongod")
        ca = str(self.authority.certificate)
        self.mongod = Mongod(
            folder,
            options=[
                *("--auth", "--keyFile", str(make_keyfile(folder)), "--tlsMode", "requireTLS"),
                *("--tlsCAFile", ca, "--tlsCertificateKeyFile", str(server)),
            ],
            connect={"tls": True, "tlsCAFile": ca, "tlsCertificateKeyFile": str(self.user)},
        )
        with self.mongod.client() as client:
            client.admin.command("createUser", "root", pwd="root", roles=["root"])
        with self.mongod.client(username="root", password="root") as client:
            for name in names:
                roles = [{"role": "readWrite", "db": "lab"}]
                client["$external"].command("createUser", f"CN={name},O=lab", roles=roles)

    def url(self, certificate: Path | None) -> str:
        """Return the address of its database for whoever has this certificate."""
        options = f"&tls=true&tlsCAFile={self.authority.certificate}&authMechanism=MONGODB-X509&authSource=$external"
        return self.mongod.url_of("lab") + options + (f"&tlsCertificateKeyFile={certificate}" if certificate else "")

    def users(self) -> set[str]:
        """Return who is connected now."""
        with self.mongod.client(username="root", password="root") as client:
            asked = {"$currentOp": {"allUsers": True, "idleConnections": True}}
            operations = list(client.admin.aggregate([asked]))
        users = (user["user"] for operation in operations for user in operation.get("effectiveUsers", ()))
        return {user for user in users if user.startswith("CN=")}
