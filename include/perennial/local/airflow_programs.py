"""Airflow's configuration on one machine, and its four components."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
from pathlib import Path

from perennial import projects, tracing
from perennial.errors import Fault
from perennial.local import postgres
from perennial.local.project import ROOT, executable, secret
from perennial.settings import Settings

USER = "admin"
# Begins the variables of Airflow's connections over which alerts go; no other variable of Airflow's is handed on.
CONNECTIONS = "AIRFLOW_CONN_PERENNIAL_"
# Name of the program -> airflow's arguments. Task logs are read from the disk
# (perennial_airflow/task_logs.py), so no component serves them.
API_SERVER = "airflow-api-server"  # also tells how the others are
COMPONENTS = {
    API_SERVER: ("api-server",),
    "airflow-scheduler": ("scheduler", "--skip-serve-logs"),
    "airflow-dag-processor": ("dag-processor",),
    "airflow-triggerer": ("triggerer", "--skip-serve-logs"),
}


def home(settings: Settings) -> Path:
    """AIRFLOW_HOME."""
    return settings.home / "airflow"


def passwords_file(settings: Settings) -> Path:
    """File with the web UI's user and password, as JSON."""
    return home(settings) / "passwords.json"


def login(settings: Settings) -> tuple[str, str]:
    """User and password of the web UI and the REST API; the password is made at first use."""
    file = passwords_file(settings)
    if not file.exists():
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished = file.with_suffix(".unfinished")
        unfinished.touch(mode=0o600)
        unfinished.write_text(json.dumps({USER: secret(settings, "airflow-password", 12)}))
        os.replace(unfinished, file)
    return USER, json.loads(file.read_text())[USER]


def environment(settings: Settings) -> dict[str, str]:
    """Airflow's whole configuration, as environment variables."""
    fernet = base64.urlsafe_b64encode(hashlib.sha256(secret(settings, "airflow-fernet").encode()).digest()).decode()
    folder = home(settings)
    options = {
        "CORE__EXECUTOR": "perennial_airflow.waking_executor.WakingExecutor",
        "CORE__PARALLELISM": str(max(4, os.cpu_count() or 1)),
        "CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(projects.bundles(settings.projects)),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "CORE__HOSTNAME_CALLABLE": "socket.gethostname",  # the default asks the name server, which a laptop may not reach
        "CORE__FERNET_KEY": fernet,
        "CORE__EXECUTION_API_SERVER_URL": f"http://{settings.host}:{settings.airflow_port}/execution/",
        "CORE__AUTH_MANAGER": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
        "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords_file(settings)),
        "DATABASE__SQL_ALCHEMY_CONN": postgres.address(settings, "airflow", "psycopg"),
        "DATABASE__SQL_ALCHEMY_CONN_ASYNC": postgres.address(settings, "airflow", "psycopg"),
        "API__HOST": settings.host,
        "API__PORT": str(settings.airflow_port),
        "API__BASE_URL": settings.airflow_url,
        "API__WORKERS": "1",
        "API__SECRET_KEY": secret(settings, "airflow-api"),
        "API_AUTH__JWT_SECRET": secret(settings, "airflow-jwt"),
        "LOGGING__LOGGING_CONFIG_CLASS": "perennial_airflow.task_logs.LOGGING",
        "LOGGING__JSON_LOGS": str(settings.log_format == "json"),
        "LOGGING__BASE_LOG_FOLDER": str(folder / "logs"),
        "LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(folder / "logs" / "dag_processor"),
        "LOGGING__FILE_TASK_HANDLER_NEW_FOLDER_PERMISSIONS": "0o700",
        "LOGGING__FILE_TASK_HANDLER_NEW_FILE_PERMISSIONS": "0o600",
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0",  # the executor waits, for as long as nothing happens
        # After a kill of the scheduler or of a task's process the task is found and run again within about a minute.
        "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "15",
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "10",
        "WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        "WORKERS__EXECUTION_API_TIMEOUT": "60",  # the default of 5 s fails tasks on a starved machine
        # Where stages are pods, a DAG file imports Kubernetes' client: on a starved machine the defaults of 30 and 50 s lose DAGs.
        "CORE__DAGBAG_IMPORT_TIMEOUT": "120",
        "DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "180",
        "DAG_PROCESSOR__REFRESH_INTERVAL": "10",  # at which perennial_airflow/dag_bundle.py sees new and edited specs
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",  # at which a DAG file is parsed of which nothing changed
        "DAG_PROCESSOR__PARSING_PROCESSES": "1",
    }
    return {
        **{f"AIRFLOW__{k}": v for k, v in options.items()},
        "AIRFLOW_HOME": str(folder),
        "PYTHONUNBUFFERED": "1",
        "SPT_NOENV": "1",  # keeps the environment readable, by which a killed supervisor's children are found
        **{name: value for name, value in os.environ.items() if name.startswith(CONNECTIONS) and value},
        **_traced(settings),
        **settings.environment(),
    }


def _traced(settings: Settings) -> dict[str, str]:
    """What switches Airflow's own tracing on, where spans are sent. A receiver that does not answer holds a task for three seconds."""
    given = tracing.named(tracing.kept(settings.home), "airflow")
    if not given:
        return {}
    flush = {"AIRFLOW__TRACES__OTEL_ON": "True", "AIRFLOW__TRACES__TASK_RUNNER_FLUSH_TIMEOUT_MILLISECONDS": "3000"}
    # Its exporter speaks gRPC unless told; seconds, as its library reads them.
    return {"OTEL_EXPORTER_OTLP_TIMEOUT": "3", **given, "OTEL_TRACES_EXPORTER": "otlp_proto_http", **flush}


def command(settings: Settings, component: str) -> list[str]:
    """Command line of a component."""
    return [executable(settings, "airflow", "airflow"), *COMPONENTS[component]]


def migrate(settings: Settings) -> None:
    """Bring the database to this Airflow's version; skipped where that was seen to be done.

    Raises:
        Fault: the migration fails.
    """
    stamp = None if settings.postgres_url else postgres.data_folder(settings).with_name("airflow-migrated")
    wanted = _state(settings) if stamp else ""
    if stamp and stamp.exists() and stamp.read_text() == wanted:
        return
    log = settings.home / "logs" / "airflow-migrate.log"
    with open(log, "w") as stream:
        code = subprocess.run(
            [executable(settings, "airflow", "airflow"), "db", "migrate"],
            env={**_inherited(), **environment(settings)},
            stdout=stream,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    if code:
        raise Fault(f"Airflow cannot bring its database up to date; {log} says why.")
    if stamp:
        stamp.write_text(wanted)


def _state(settings: Settings) -> str:
    """A value that changes with the lock file, and when the database cluster is created again."""
    lock = hashlib.sha256((ROOT / "requirements.txt").read_bytes()).hexdigest()
    return json.dumps({"lock": lock, "database": (postgres.data_folder(settings) / "PG_VERSION").stat().st_mtime_ns})


def _inherited() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "PYTHON"))}
