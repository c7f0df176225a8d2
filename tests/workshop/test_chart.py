"""The Helm chart: what it says of values, and what it makes of them where `helm` is at hand."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from measurand.client._version import __version__
from measurand.server.config import load
from measurand.server.health import ALIVE

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/measurand"
LAB = CHART / "ci/lab-values.yaml"
"""Everything on."""

helm = shutil.which("helm", path=f"{os.environ['PATH']}:{ROOT / '.tools'}")
needs_helm = pytest.mark.skipif(helm is None, reason="helm is not at hand")


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    assert helm is not None
    return subprocess.run([helm, *arguments], check=False, capture_output=True, text=True, timeout=60)


def rendered(*options: str) -> dict[tuple[str, str], Any]:
    """Return what the chart makes, by kind and name."""
    done = run("template", "lab", str(CHART), "--kube-version", "1.34.0", *options)
    assert done.returncode == 0, done.stderr
    return {(made["kind"], made["metadata"]["name"]): made for made in yaml.safe_load_all(done.stdout) if made}


def container_of(made: dict[tuple[str, str], Any]) -> Any:
    (container,) = made["Deployment", "lab-measurand"]["spec"]["template"]["spec"]["containers"]
    return container


def known(schema: Any, path: str = "") -> set[str]:
    """Return the values that a schema names."""
    found = set[str]()
    for name, inner in schema.get("properties", {}).items():
        where = f"{path}{name}"
        found |= known(inner, f"{where}.") if inner.get("properties") else {where}
    return found


def shown(values: Any, schema: Any, path: str = "") -> set[str]:
    """Return the values that a file of values shows, as deep as the schema goes."""
    found = set[str]()
    for name, value in values.items():
        inner = schema.get("properties", {}).get(name, {})
        deeper = isinstance(value, dict) and inner.get("properties")
        found |= shown(value, inner, f"{path}{name}.") if deeper else {f"{path}{name}"}
    return found


def test_the_schema_knows_the_values_that_are_shown_and_no_others() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert shown(read(CHART / "values.yaml"), schema) == known(schema) - {"global"}
    assert shown(read(LAB), schema) <= known(schema)


def test_the_schema_refuses_what_it_does_not_know() -> None:
    def check(schema: Any) -> None:
        if "properties" in schema:
            assert schema["additionalProperties"] is False
            for inner in schema["properties"].values():
                check(inner)

    check(json.loads((CHART / "values.schema.json").read_text()))


def test_the_chart_is_of_this_release() -> None:
    assert read(CHART / "Chart.yaml")["appVersion"] == __version__


def test_templates_use_only_values_that_are_shown() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    roots = {name.split(".")[0] for name in known(schema)}
    for template in (CHART / "templates").iterdir():
        used = set(re.findall(r"\.Values\.(\w+(?:\.\w+)?)", template.read_text()))
        assert not {name for name in used if name.split(".")[0] not in roots}, template.name
        deep = {name for name in used if "." in name}
        assert not {name for name in deep if name not in known(schema) and name.split(".")[0] in roots}, template.name


@needs_helm
def test_the_chart_has_no_faults_that_helm_can_see() -> None:
    done = run("lint", "--strict", "--kube-version", "1.34.0", "--values", str(LAB), str(CHART))
    assert done.returncode == 0, done.stdout


@needs_helm
def test_a_server_understands_the_settings_that_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    container = container_of(rendered("--values", str(LAB)))
    told = {item["name"]: item.get("value", "mongodb://h/measurand") for item in container["env"]}
    for name in [name for name in os.environ if name.startswith("MEASURAND_")]:
        monkeypatch.delenv(name)
    for name, value in told.items():
        if name.startswith("MEASURAND_"):
            monkeypatch.setenv(name, value)
    config = load({})
    assert config.log_level == "debug" and config.limits.upload_lifetime.days == 2
    assert config.tracing.endpoint == "http://collector.observability:4318"
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert config.http is not None
    assert ports == {"grpc": config.listen.port, "http": config.http.port}


@needs_helm
def test_secrets_are_named_and_never_written_out() -> None:
    container = container_of(rendered("--values", str(LAB)))
    sources = {item["name"]: item["valueFrom"] for item in container["env"] if "valueFrom" in item}
    named = {name: source["secretKeyRef"] for name, source in sources.items() if "secretKeyRef" in source}
    assert named == {
        "MEASURAND_DOCUMENTS": {"name": "lab-mongo", "key": "url"},
        "AWS_ACCESS_KEY_ID": {"name": "lab-s3", "key": "AWS_ACCESS_KEY_ID"},
        "AWS_SECRET_ACCESS_KEY": {"name": "lab-s3", "key": "AWS_SECRET_ACCESS_KEY"},
    }


@needs_helm
def test_a_store_that_is_away_takes_a_server_out_of_service_and_does_not_restart_it() -> None:
    container = container_of(rendered("--set", "blobs.url=s3://b"))
    assert container["readinessProbe"]["grpc"] == {"port": 50051}
    assert container["livenessProbe"]["grpc"] == container["startupProbe"]["grpc"] == {"port": 50051, "service": ALIVE}


@needs_helm
def test_a_pod_has_no_rights_that_it_does_not_need() -> None:
    pod = rendered("--set", "blobs.url=s3://b")["Deployment", "lab-measurand"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False  # its variables would be taken for settings
    assert pod["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@needs_helm
def test_everything_selects_the_pods_that_are_made() -> None:
    made = rendered("--values", str(LAB))
    labels = made["Deployment", "lab-measurand"]["spec"]["template"]["metadata"]["labels"].items()
    selectors = [thing["spec"]["selector"] for (kind, _), thing in made.items() if kind == "Service"]
    selectors += [
        made[kind, "lab-measurand"]["spec"]["selector"]["matchLabels"] for kind in ("Deployment", "PodDisruptionBudget")
    ]
    assert len(selectors) == 5
    assert all(selector.items() <= labels for selector in selectors)
    monitored = made["ServiceMonitor", "lab-measurand"]["spec"]["selector"]["matchLabels"].items()
    services = [thing for (kind, _), thing in made.items() if kind == "Service"]
    assert [thing["metadata"]["name"] for thing in services if monitored <= thing["metadata"]["labels"].items()] == [
        "lab-measurand-metrics"
    ]


@needs_helm
@pytest.mark.parametrize(
    "wrong",
    [
        "replicaz=3",
        "settings.documents=mongodb://h",
        "blobs.url=http://h",
        "ingress.enabled=true",
        "tracing.endpoint=collector:4317",
        "replicas=many",
    ],
)
def test_a_wrong_value_is_refused(wrong: str) -> None:
    done = run("template", "lab", str(CHART), "--kube-version", "1.34.0", "--set", "blobs.url=s3://b", "--set", wrong)
    assert done.returncode != 0
    assert "values don't meet the specifications" in done.stderr
