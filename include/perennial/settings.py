"""Where things are: read once from the environment, checked, passed on. What a model is lives in `specs/`.

>>> from perennial.settings import Settings
>>> settings = Settings.from_environment({"PERENNIAL_STORE": "s3://models/prod", "PERENNIAL_GATEWAY_URL": "http://127.0.0.1:8000"})
>>> settings.store, settings.prediction_path("churn")
('s3://models/prod', '/seldon/perennial/churn/api/v1.0/predictions')
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from perennial.errors import SettingMissing
from perennial.prices import Prices
from perennial.projects import folders

PREFIX = "PERENNIAL_"
# Settings of earlier versions, which programs that run may still hand on.
_GONE = {"gateway_admin_port", "serving_port", "reports_port", "reports_url", "dags_folder"}
_OF_MAKEFILES = {"platform"}  # where a project's Makefile finds this checkout: nothing else asks for it
# How far each follows from port_base.
PORTS = {
    "airflow_port": 0,
    "mlflow_port": 1,
    "gateway_port": 2,
    "prometheus_port": 3,
    "metrics_port": 4,
    "alertmanager_port": 5,
    "traces_port": 6,
}
_HOST_NAME = re.compile(r"\*|[a-z0-9._-]+|\[[0-9a-f:.]+\]")
_EXAMPLE = re.compile(r"[a-z][a-z0-9_]*")
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


class Settings(BaseModel):
    """Every setting is an environment variable: `PERENNIAL_` and the field's name in capitals."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path = Field(default=Path(".perennial"), description="Folder for this machine's environments, logs, sockets and process state.")
    store: str = Field(default="", description="Root of all durable data: a folder or `s3://bucket/prefix`; `<home>/store` if empty.")
    runtime: Literal["process", "pod"] = Field(default="process", description="Where stages run: child processes or Kubernetes pods.")
    serving: Literal["local", "seldon", "kserve"] = Field(
        default="local", description="What serves versions: Envoy and processes on this machine, Seldon Core, or KServe."
    )
    ingress: Literal["own", "gateway-api"] = Field(
        default="own",
        description="What shares a model's traffic among its versions on Kubernetes: what serves them (`own`), or an HTTPRoute of the "
        "Gateway API with exact weights (`gateway-api`, for KServe and Seldon Core 1).",
    )
    gateway: str = Field(
        default="",
        description="The Gateway that HTTPRoutes are attached to, `namespace/name`. Required if `PERENNIAL_INGRESS` is `gateway-api`.",
    )
    server: Literal["open", "seldon"] = Field(
        default="open",
        description="Which server runs each version on this machine: `open` speaks Seldon's v1 form and the Open Inference Protocol, "
        "`seldon` is seldon-core's wrapper, which speaks the first alone.",
    )
    host: str = Field(default="127.0.0.1", description="Address that every local server listens on.")
    port_base: int = Field(
        default=0,
        ge=0,
        le=65535 - max(PORTS.values()),
        description="First of seven ports in a row: Airflow's, MLflow's, the gateway's, Prometheus', the metrics', Alertmanager's "
        "and that of traces. "
        "A port that is set by itself below stays; 0 leaves each at its own default.",
    )
    airflow_port: int = Field(default=8080, ge=1, le=65535, description="Port of the Airflow web UI.")
    mlflow_port: int = Field(default=5000, ge=1, le=65535, description="Port of the MLflow server.")
    gateway_port: int = Field(default=8003, ge=1, le=65535, description="Port of the gateway for predictions (Envoy).")
    metrics_port: int = Field(
        default=9900,
        ge=1,
        le=65535,
        description="Port of the metrics of gateway, versions, models and machine, for Prometheus; always on 127.0.0.1.",
    )
    metrics: bool = Field(
        default=False,
        description="Whether `perennial up` also starts Prometheus and Alertmanager, with the platform's rules; both must be installed.",
    )
    prometheus_port: int = Field(default=9090, ge=1, le=65535, description="Port of that Prometheus; always on 127.0.0.1.")
    alertmanager_port: int = Field(default=9093, ge=1, le=65535, description="Port of that Alertmanager; always on 127.0.0.1.")
    alertmanager_config: str = Field(
        default="",
        description="Alertmanager's own configuration file. If empty, its alerts go to the webhook of the variable "
        "AIRFLOW_CONN_PERENNIAL_WEBHOOK, and without that are shown by Alertmanager alone.",
    )
    traces: bool = Field(
        default=False,
        description="Whether `perennial up` also starts a receiver of traces, which `perennial trace` draws. Not needed where "
        "OTEL_EXPORTER_OTLP_ENDPOINT names one of your own (docs/tracing.md).",
    )
    traces_port: int = Field(default=4318, ge=1, le=65535, description="Port of that receiver; always on 127.0.0.1.")
    trace_url: str = Field(
        default="",
        description="Address at which a browser sees a trace, with `{trace_id}` in it, such as `http://127.0.0.1:16686/trace/{trace_id}`; "
        "stages link to it. No links if empty.",
    )
    mlflow_url: str = Field(default="", description="URL of the MLflow server; `http://<host>:<mlflow_port>` if empty.")
    mlflow_login: str = Field(
        default="",
        description="File with what an MLflow server elsewhere asks for: `user:password`, or a token. If empty, MLFLOW_TRACKING_TOKEN, or "
        "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD; the server that `perennial up` starts has a password of its own.",
    )
    gateway_url: str = Field(default="", description="URL by which stages reach the gateway; `http://<host>:<gateway_port>` if empty.")
    airflow_url: str = Field(
        default="",
        description="URL by which a browser reaches Airflow, with the console and the reports; `http://<host>:<airflow_port>` if empty.",
    )
    allowed_hosts: str = Field(
        default="",
        description="Further host names by which callers reach the local servers, comma-separated, without ports; `*` allows all. "
        "Loopback names, the host and the hosts of the URLs above are always allowed. A request with another name is refused, "
        "which protects against DNS rebinding.",
    )
    examples: str = Field(
        default="",
        description="Examples that are switched on, comma-separated names of models or datasets, such as `bad_news,hourly_delays`; the "
        "datasets of these models come along. None if empty.",
    )
    project: str = Field(
        default="",
        description="Projects of your own, comma-separated folders as `perennial new` makes them: their datasets, models, suites and DAGs "
        "are found beside the platform's, and `make setup`, `check`, `test` and `images` take them in. None if empty.",
    )
    rows_gb: float = Field(
        default=0,
        ge=0,
        description="Memory that the rows of a training may take, GB; those that need more lie in files below PERENNIAL_HOME while it "
        "trains. 0: a quarter of the memory that the process may use.",
    )
    postgres_url: str = Field(
        default="", description="External PostgreSQL as `postgresql://user:password@host:port`; if empty, `perennial up` starts one."
    )
    connections: str = Field(
        default="",
        description="JSON file of the connections by which sources are read by hand, by name; only its owner may read it (chmod 600). "
        "In Airflow they are Airflow's connections.",
    )
    pod_templates: str = Field(
        default="",
        description="Folder of pod templates (Kubernetes Pod manifests): `<stage>.yaml`, or `stage.yaml` for stages without one; "
        "`server.yaml` for served versions. Required if stages run as pods, or Seldon Core or KServe serves.",
    )
    pod_namespace: str = Field(default="perennial", description="Kubernetes namespace of the pods in which stages run.")
    serving_namespace: str = Field(
        default="perennial",
        description="Kubernetes namespace in which versions are served; part of every prediction path, on one machine too.",
    )
    seldon_dialect: Literal["v1", "v2"] = Field(
        default="v1", description="Major version of Seldon Core: `v1` has `SeldonDeployment`, `v2` has `Model` and `Experiment`."
    )
    prometheus_url: str = Field(
        default="",
        description="URL of the Prometheus that scrapes served versions, from which releases read evidence. Required on Kubernetes; "
        "with `PERENNIAL_METRICS` the one that `perennial up` starts, if empty.",
    )
    watch_seconds: float = Field(
        default=2.0,
        gt=0,
        le=600,
        description="Time between two looks at the versions that serve, seconds; 15 is enough where a Prometheus is asked.",
    )
    alert_mail_to: str = Field(
        default="",
        description="Mail addresses that get alerts, comma-separated; no mail if empty. The mail server is Airflow's connection "
        "`perennial_smtp`.",
    )
    alert_mail_severity: Literal["info", "warning", "critical"] = Field(
        default="warning", description="Lowest severity of incidents that are sent by mail."
    )
    alert_webhook_severity: Literal["info", "warning", "critical"] = Field(
        default="warning",
        description="Lowest severity of incidents that are sent to Airflow's connection `perennial_webhook`, if it exists.",
    )
    runbook_url: str = Field(
        default="", description="URL by which a browser reaches docs/runbook.md; alerts link to it, or name the file if empty."
    )
    landing_settle_seconds: float = Field(
        default=2.0,
        ge=0,
        description="A landed file is taken once it has not changed for this long; a large one in a folder must wait longer, "
        "at most 15 times as long.",
    )
    prices: str = Field(
        default="",
        description="Prices and watts by which trainings are reckoned, as JSON, such as "
        '`{"currency": "EUR", "cpu_hour": 0.04, "gpu_hour": 2.5, "gb_hour": 0.005}`; `watts_cpu` (3.5), `watts_gpu` (400) and `watts_gb` '
        "(0.392) estimate the energy. No money if empty.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", description="How much stages log.")
    log_format: Literal["text", "json"] = Field(
        default="text",
        description="Form of the lines that programs log: `text` for a person, `json` for a central log, one object a line (docs/logs.md).",
    )

    @field_validator("allowed_hosts")
    @classmethod
    def _are_names(cls, given: str) -> str:
        for name in filter(None, (name.strip() for name in given.split(","))):
            if not _HOST_NAME.fullmatch(host_name(name)):
                raise ValueError(f"{name!r} is no host name: give names like models.example.com with commas between, or `*` alone for all")
        return given

    @field_validator("examples")
    @classmethod
    def _are_examples(cls, given: str) -> str:
        for name in filter(None, (name.strip() for name in given.split(","))):
            if not _EXAMPLE.fullmatch(name):
                raise ValueError(f"{name!r} is no name: give names like hourly_delays with commas between")
        return given

    @field_validator("project")
    @classmethod
    def _have_names(cls, given: str) -> str:
        names = [folder.name for folder in folders(given)]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two of these folders are called {twice}, and projects are told apart by their names: rename one")
        return given

    @field_validator("prices")
    @classmethod
    def _are_prices(cls, given: str) -> str:
        Prices.read(given)
        return given

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read the settings.

        Raises:
            SettingMissing: a variable is unknown, or its value is not of the field's type.
        """
        environment = os.environ if environment is None else environment
        given = {k[len(PREFIX) :].lower(): v for k, v in environment.items() if k.startswith(PREFIX)}
        for name in _GONE | _OF_MAKEFILES:
            given.pop(name, None)
        unknown = sorted(set(given) - set(cls.model_fields))
        if unknown:
            raise SettingMissing(f"{PREFIX}{unknown[0].upper()} is no setting; docs/settings.md lists them. Unset it or correct its name.")
        try:
            settings = cls(**given)
            following = {name: settings.port_base + place for name, place in PORTS.items() if settings.port_base and name not in given}
            settings = settings.model_copy(update=following)
        except ValidationError as error:
            first = error.errors()[0]
            name = PREFIX + str(first["loc"][0]).upper()
            raise SettingMissing(f"{name} is {first['input']!r}: {first['msg']}. See docs/settings.md.") from None
        home = settings.home.expanduser().absolute()
        base = f"http://{settings.host}"
        return settings.model_copy(
            update={
                "home": home,
                "alertmanager_config": str(Path(settings.alertmanager_config).expanduser().absolute())
                if settings.alertmanager_config
                else "",
                "project": ",".join(map(str, settings.projects)),
                "mlflow_login": str(Path(settings.mlflow_login).expanduser().absolute()) if settings.mlflow_login else "",
                "store": settings.store or str(home / "store"),
                "mlflow_url": settings.mlflow_url or f"{base}:{settings.mlflow_port}",
                "prometheus_url": settings.prometheus_url or (f"http://127.0.0.1:{settings.prometheus_port}" if settings.metrics else ""),
                "gateway_url": settings.gateway_url or f"{base}:{settings.gateway_port}",
                "airflow_url": settings.airflow_url or f"{base}:{settings.airflow_port}",
            }
        )

    def environment(self) -> dict[str, str]:
        """The variables that give a child process these same settings."""
        return {PREFIX + name.upper(): str(value) for name, value in self.model_dump().items() if value != ""}

    def host_names(self) -> frozenset[str]:
        """Names by which the local servers may be asked for, in lower case and without ports; holds `*` where all are allowed."""
        urls = (self.mlflow_url, self.gateway_url, self.airflow_url)
        given = (name.strip() for name in self.allowed_hosts.split(","))
        return frozenset(filter(None, (*_LOOPBACK, _bracketed(self.host.lower()), *map(host_name, urls), *map(host_name, given))))

    def allows_host(self, header: str) -> bool:
        """Whether a request with this header `Host`, or one from a page of this `Origin`, is for a local server. A port does not matter."""
        names = self.host_names()
        return "*" in names or host_name(header) in names

    def prediction_path(self, model: str) -> str:
        """Path of a model's prediction endpoint below the gateway; the same in every serving backend."""
        return f"/seldon/{self.serving_namespace}/{model.replace('_', '-')}/api/v1.0/predictions"

    def report_url(self, key: str) -> str:
        """Address at which a browser reads a report, behind Airflow's login. `key` is its key in the store, below `reports/`."""
        return f"{self.airflow_url.rstrip('/')}/perennial/report/{quote(key.removeprefix('reports/'))}"

    @property
    def example_names(self) -> frozenset[str]:
        """Names of the examples that are switched on."""
        return frozenset(filter(None, (name.strip() for name in self.examples.split(","))))

    @property
    def projects(self) -> tuple[Path, ...]:
        """Folders of the projects, in the order in which they are named."""
        return tuple(folders(self.project))

    @property
    def mlflow_password(self) -> Path:
        """File with the password of the MLflow server that `perennial up` starts."""
        return self.home / "secrets" / "mlflow-password"

    @property
    def has_own_mlflow(self) -> bool:
        """Whether the MLflow server is asked at the address at which `perennial up` starts one."""
        return self.mlflow_url.rstrip("/") == f"http://{self.host}:{self.mlflow_port}"

    def venv(self, name: Literal["airflow", "workload", "serving", "tools"]) -> Path:
        """One of the virtual environments that `make setup` made on this machine."""
        return self.home / "venvs" / name


def host_name(address: str) -> str:
    """The host of a header `Host` or `Origin` or of a whole address, in lower case and without its port: `[::1]` of `http://[::1]:8003`."""
    place = address.partition("://")[2] or address
    host = place.partition("/")[0].lower()
    return host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute()) if path else ""


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
