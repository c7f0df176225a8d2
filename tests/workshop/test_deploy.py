"""The Dockerfile and `deploy/` fit the product: they name settings, ports, files and metrics that there are."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from tests.seaweed import Seaweed

from measurand.server.config import Config, load
from measurand.server.metrics import Metrics
from measurand.wire.errors import REASONS

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
PORTS = {str(Config.model_fields[name].default.port) for name in ("listen", "http")}


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile with their arguments."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(words[0], words[1]) for line in lines if (words := line.split(maxsplit=1))]


def of_image(word: str) -> list[str]:
    """Return the arguments of an instruction in the last stage: what it says of the image itself."""
    found = instructions()
    begin = max(place for place, (instruction, _) in enumerate(found) if instruction == "FROM")
    return [arguments for instruction, arguments in found[begin:] if instruction == word]


def settings_of_image() -> dict[str, str]:
    pairs = dict(pair.split("=", 1) for arguments in of_image("ENV") for pair in arguments.split())
    return {name: value for name, value in pairs.items() if name.startswith("MEASURAND_")}


def only(monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]) -> Config:
    """Return what a server makes of these variables and no others."""
    for name in os.environ:
        if name.startswith("MEASURAND_"):
            monkeypatch.delenv(name)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return load({})


# -------------------------------------------------------------------------------------------------------------- image


def test_the_image_listens_on_the_ports_that_it_says_and_keeps_its_data_in_the_volume(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = only(monkeypatch, settings_of_image())
    assert config.http is not None
    assert {str(config.listen.port), str(config.http.port)} == PORTS == set(of_image("EXPOSE")[0].split())
    assert [str(config.data)] == of_image("VOLUME")


def test_the_image_is_not_run_by_root_and_kubernetes_can_see_it() -> None:
    (user,) = of_image("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)


def test_the_image_is_healthy_by_a_command_that_there_is() -> None:
    (health,) = of_image("HEALTHCHECK")
    python, *arguments = json.loads(health.partition("CMD ")[2])
    assert python == "python"
    assert arguments[-1] == "127.0.0.1:50051"
    nobody = [*arguments[:-1], "127.0.0.1:1"]
    done = subprocess.run([sys.executable, *nobody], check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "Connection refused" in done.stderr) == (1, True)


def test_everything_that_the_image_copies_is_there_and_it_copies_the_whole_package() -> None:
    copied = {
        source
        for word, arguments in instructions()
        if word == "COPY" and "--from" not in arguments
        for source in arguments.split()[:-1]
    }
    assert not {source for source in copied if not (ROOT / source).exists()}
    roots = re.search(r"^packages = \[(.+)\]", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert roots is not None
    assert {path.strip(' "').partition("/")[0] for path in roots[1].split(",")} <= copied


def test_no_secret_is_baked_in() -> None:
    for word, arguments in instructions():
        if word in ("ARG", "ENV", "COPY"):
            assert not re.search(r"password|secret|token|\.env|access_key", arguments, re.IGNORECASE), arguments


# ------------------------------------------------------------------------------------------------------------ compose


@pytest.fixture
def compose() -> Any:
    return read(DEPLOY / "compose.yaml")


@pytest.fixture
def made_up(tmp_path: Path) -> dict[str, str]:
    """What `make-env` makes up."""
    script = tmp_path / "make-env"
    script.write_text((DEPLOY / "make-env").read_text())
    subprocess.run(["sh", str(script)], check=True, timeout=60)
    written = tmp_path / ".env"
    assert written.stat().st_mode & 0o077 == 0
    before = written.read_text()
    assert subprocess.run(["sh", str(script)], check=False, capture_output=True, timeout=60).returncode == 1
    assert written.read_text() == before
    return dict(line.split("=", 1) for line in before.splitlines())


def filled(text: str, values: dict[str, str]) -> str:
    """Put values into `${NAME:-default}` and `${NAME:?hint}` as compose does."""

    def value(match: re.Match[str]) -> str:
        name, default = match[1], match[3] if match[2] == "-" else None
        return values.get(name, default) if default is not None else values[name]

    return re.sub(r"\$\{(\w+)(?::(-|\?)([^}]*))?\}", value, text)


def one_shot(service: Any) -> bool:
    return "restart" not in service


def test_all_images_of_others_are_pinned(compose: Any) -> None:
    images = {service["image"] for service in compose["services"].values() if "build" not in service}
    assert images
    assert all(re.search(r":v?\d+\.\d+(\.\d+)?$", image) for image in images), images


def test_every_secret_that_compose_asks_for_is_made_up_and_no_two_are_the_same(made_up: dict[str, str]) -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    asked = set(re.findall(r"\$\{(\w+):\?", text)) | set(re.findall(r"environment: ([A-Z_]+)$", text, re.MULTILINE))
    assert asked == made_up.keys()
    assert len(set(made_up.values())) == len(made_up)
    assert all(re.fullmatch(r"[0-9a-f]{20,}", value) for value in made_up.values())  # a URL takes them as they are


def test_the_servers_understand_what_they_are_told(
    compose: Any, made_up: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        service = compose["services"][f"measurand-{number}"]
        told = {name: filled(value, made_up) for name, value in service["environment"].items()}
        settings = {name: value for name, value in told.items() if name.startswith("MEASURAND_")}
        config = only(monkeypatch, {**settings_of_image(), **settings})
        assert (config.documents_place.kind, config.blobs_place.kind) == ("mongodb", "s3")
        assert made_up["MONGO_PASSWORD"] in config.documents_place.url
        assert made_up["MONGO_PASSWORD"] not in str(config.documents_place)


def test_the_members_of_the_replica_set_are_those_that_servers_ask(compose: Any) -> None:
    script = (DEPLOY / "compose/initiate.js").read_text()
    members = re.search(r"MEMBERS = '([^']+)'", script)
    assert members is not None
    hosts = [member.removesuffix(":27017") for member in members[1].split(",")]
    assert hosts == [name for name in compose["services"] if re.fullmatch(r"mongo-\d", name)]
    assert ",".join(hosts) in compose["services"]["measurand-1"]["environment"]["MEASURAND_DOCUMENTS"]


def test_whatever_runs_on_is_started_again_and_says_whether_it_is_well(compose: Any) -> None:
    for name, service in compose["services"].items():
        if not one_shot(service):
            assert service["restart"] == "unless-stopped"
            assert "healthcheck" in service or "build" in service, name  # ours has it in the image


def test_services_wait_for_what_they_stand_on(compose: Any) -> None:
    services = compose["services"]
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            ends = "service_completed_successfully" if one_shot(services[other]) else "service_healthy"
            assert how == {"condition": ends}, (name, other)


def test_only_the_balancer_is_reached_from_outside_and_only_on_loopback(compose: Any) -> None:
    published = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert list(published) == ["traefik"]
    assert [filled(port, {}) for port in published["traefik"]] == ["127.0.0.1:50051:50051"]
    assert compose["networks"]["stores"]["internal"] is True


def test_files_that_compose_mounts_are_there_and_volumes_have_names(compose: Any) -> None:
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (DEPLOY / source).is_file() if source.startswith(".") else source in compose["volumes"]


def test_the_balancer_leads_to_all_servers_by_h2c_and_asks_for_their_health(compose: Any) -> None:
    balancer = read(DEPLOY / "compose/traefik.yaml")["http"]["services"]["measurand"]["loadBalancer"]
    servers = [name for name in compose["services"] if name.startswith("measurand-")]
    assert [server["url"] for server in balancer["servers"]] == [f"h2c://{name}:50051" for name in servers]
    assert balancer["healthCheck"]["mode"] == "grpc"
    flags = dict(flag.removeprefix("--").split("=", 1) for flag in compose["services"]["traefik"]["command"])
    assert flags["entryPoints.grpc.transport.respondingTimeouts.readTimeout"] == "0s"  # uploads last long


@pytest.fixture
def seaweed(tmp_path: Path) -> Iterator[Seaweed]:
    """An S3 server of the test's own, for what is set for all buckets."""
    seaweed = Seaweed(tmp_path)
    yield seaweed
    seaweed.stop()


def test_making_the_bucket_twice_is_as_good_as_once(seaweed: Seaweed) -> None:
    ports = seaweed._ports
    told = {
        "MASTER": f"127.0.0.1:{ports['master.port']}.{ports['master.port.grpc']}",
        "FILER": f"127.0.0.1:{ports['filer.port']}.{ports['filer.port.grpc']}",
        "BUCKET": "made-by-compose",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    for _ in range(2):
        subprocess.run(["sh", str(DEPLOY / "compose/make-bucket.sh")], check=True, env=told, timeout=120)
    client = seaweed.client()
    try:
        assert "made-by-compose" in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]
    finally:
        client.close()


# ----------------------------------------------------------------------------------------------------------- watching


@pytest.fixture
def told() -> set[str]:
    """The names of the samples that a server which leads tells of itself, process figures left out."""
    metrics = Metrics()
    metrics.begin("/m")
    metrics.end("/m", "UNAVAILABLE", "STORE_UNAVAILABLE", 1.0)
    metrics.observe("s3", "open", 1.0, "STORE_UNAVAILABLE")
    metrics.moved("s3", "open", 1)
    metrics.moved("s3", "put", 1)
    metrics.asked("mongodb", "files", "find", 1.0, "STORE_UNAVAILABLE")
    looked_at = ("buffer_figures", "container_figures", "healing_rooms", "operation_rooms")
    modules = ("compose", "stores", "buffer_rooms", *looked_at)
    server = "".join((ROOT / f"services/measurand/server/{name}.py").read_text() for name in modules)
    found = re.findall(r"(?:Figure|Series|of)\(\s*\"(measurand_\w+)\"(.*)", server)
    figures = {name + ("_total" if "is_count=True" in rest else "") for name, rest in found}
    families = text_string_to_metric_families(metrics.page().decode())
    counted = {sample.name for family in families for sample in family.samples}
    return {name for name in counted if name.startswith("measurand_")} | figures | {"measurand_leading"}


def without_part(name: str) -> str:
    """Return the name of a histogram for that of one of its samples."""
    return re.sub(r"(_seconds)_(bucket|count|sum)$", r"\1", name)


@pytest.mark.parametrize("path", ["helm/measurand/alerts.yaml", "grafana.json"])
def test_alerts_and_panels_ask_for_metrics_and_reasons_that_there_are(path: str, told: set[str]) -> None:
    text = (DEPLOY / path).read_text().replace('\\"', '"')
    asked = set(re.findall(r"\b(measurand_\w+)", text))
    assert asked
    assert not asked - told - {without_part(name) for name in told}
    assert not set(re.findall(r'reason!?="(\w+)"', text)) - REASONS.keys()


def test_each_alert_says_what_is_wrong_and_what_to_do() -> None:
    (group,) = read(DEPLOY / "helm/measurand/alerts.yaml")["groups"]
    for rule in group["rules"]:
        assert rule["annotations"].keys() == {"summary", "description"}, rule["alert"]
        assert rule["labels"]["severity"] in ("critical", "warning")


def test_the_page_about_metrics_has_all_of_them(told: set[str]) -> None:
    table = re.findall(r"^\| (`measurand_.+?) \| ", (ROOT / "docs/deployment.md").read_text(), re.MULTILINE)
    documented = {name for cell in table for name in re.findall(r"`(\w+)`", cell)}
    assert documented == {without_part(name) for name in told if not name.endswith("_created")}
