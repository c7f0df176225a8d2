"""Make the stubs and the sync twins in a temporary folder, then compare them with the tree or copy them into it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent

sys.path.insert(0, str(ROOT))
from scripts import unasync  # noqa: E402  # found through the line above

TWINS = (
    (ROOT / "client/measurand/client/_async", ROOT / "client/measurand/client/_sync"),
    (ROOT / "tests/client/_async", ROOT / "tests/client/_sync"),
)


def make_stubs(target: Path) -> None:
    """Run protoc with the mypy plugins; `--mypy_out` types the grpc stubs too, which `--pyi_out` does not."""
    protos = sorted(str(path) for path in (ROOT / "protos").rglob("*.proto"))
    target.mkdir(parents=True)
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'protos'}", f"--python_out={target}"]
    command += [f"--grpc_python_out={target}", f"--mypy_out=quiet:{target}", f"--mypy_grpc_out=quiet:{target}"]
    command += [f"--plugin={plugin}={BIN / plugin}" for plugin in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")]
    subprocess.run([*command, *protos], check=True)
    package = target / "measurand/v1"
    (package / "__init__.py").write_text("")
    (package / "py.typed").write_text("")


def make_twins(pairs: list[tuple[Path, Path]]) -> None:
    """Write the sync form of every module in each source, formatted as the rest of the tree is."""
    for _, target in pairs:
        target.mkdir(parents=True)
    unasync.convert_trees(pairs)
    config = ["--config", str(ROOT / "pyproject.toml"), "--quiet"]
    targets = [target for _, target in pairs]
    # Outside the tree ruff cannot see what is our own.
    own = ["--config", 'lint.isort.known-first-party=["measurand"]']
    subprocess.run([BIN / "ruff", "check", *config, *own, "--select", "I", "--fix", *targets], check=True)
    subprocess.run([BIN / "ruff", "format", *config, *targets], check=True)


def contents(folder: Path) -> dict[Path, bytes]:
    """Return what the files below a folder hold; nothing where there is no folder."""
    if not folder.exists():
        return {}
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder): path.read_bytes() for path in files}


def main() -> int:
    """Make everything and copy it into the tree, or with `--check` tell what is stale."""
    check = "--check" in sys.argv[1:]
    stale: list[Path] = []
    with tempfile.TemporaryDirectory() as temporary:
        made: list[tuple[Path, Path]] = [(Path(temporary) / "generated", ROOT / "generated")]
        make_stubs(made[0][0])
        fresh_twins = [Path(temporary) / f"twin{number}" for number, _ in enumerate(TWINS)]
        make_twins([(source, fresh) for (source, _), fresh in zip(TWINS, fresh_twins, strict=True)])
        made += [(fresh, target) for (_, target), fresh in zip(TWINS, fresh_twins, strict=True)]
        for fresh, target in made:
            new, old = contents(fresh), contents(target)
            stale += [target / path for path in sorted({*new, *old}) if new.get(path) != old.get(path)]
            if not check and new != old:
                shutil.rmtree(target, ignore_errors=True)
                shutil.copytree(fresh, target)
    for path in stale:
        print(f"{'stale' if check else 'made'}: {path.relative_to(ROOT)}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
