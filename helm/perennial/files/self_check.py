"""What a release needs, tried from a release's own pod: the store, MLflow, Prometheus, the gateway and the objects that serve.

Prints one line for each and exits with 1 if one of them fails. What it writes into the store it removes again.
"""

from __future__ import annotations

import argparse
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable

from perennial.errors import PerennialError, ServiceUnreachable, StoreUnreachable
from perennial.registry.mlflow_server import MlflowServer
from perennial.serving.backends.kubernetes_api import KubernetesApi
from perennial.settings import Settings
from perennial.store import open_store

OURS = {"app.kubernetes.io/part-of": "perennial"}


def check_store(settings: Settings) -> str:
    """Write, write again only if absent, read, remove."""
    store, key = open_store(settings.store), f"self-check/{uuid.uuid4().hex}"
    store.write(key, b"first")
    try:
        if store.put_if_absent(key, b"second") or store.read(key) != b"first":
            raise StoreUnreachable(
                f"The store {settings.store} overwrites where it must not: its server has no conditional writes (If-None-Match). "
                "Use one that has."
            )
    finally:
        store.delete(key)
    return settings.store


def check_mlflow(settings: Settings, seconds: float) -> str:
    """Ask for one run's folder of runs, as a registration does."""
    MlflowServer(settings, seconds).get("registered-models/search", max_results=1)
    return settings.mlflow_url


def check_answer(url: str, path: str, setting: str, seconds: float) -> str:
    """Any answer will do but a refused connection, a time out and an error of the server."""
    try:
        urllib.request.urlopen(url.rstrip("/") + path, timeout=seconds).close()  # noqa: S310 - the address is a setting
    except urllib.error.HTTPError as error:
        if error.code >= 500:
            raise ServiceUnreachable(f"{url} answers with status {error.code}. See its log, or correct {setting}.") from error
    except (OSError, ValueError) as error:
        raise ServiceUnreachable(f"{url} does not answer ({error}). Start it, allow the way to it, or correct {setting}.") from error
    return url


def kinds(settings: Settings) -> list[str]:
    """The kinds of objects by which versions are served and share traffic."""
    if settings.serving == "kserve":
        served = ["inferenceservices"]
    else:
        served = ["seldondeployments"] if settings.seldon_dialect == "v1" else ["models", "experiments"]
    return served + (["httproutes"] if settings.ingress == "gateway-api" else [])


def check_serving(settings: Settings) -> str:
    """List what serves, with the rights of this pod's service account."""
    api = KubernetesApi(settings.serving_namespace)
    found = [f"{len(api.list(plural, OURS))} {plural}" for plural in kinds(settings)]
    return f"{', '.join(found)} in {settings.serving_namespace}"


def main() -> int:
    """0 if all is well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20, help="for each answer")
    parser.add_argument("--only", nargs="*", default=[], help="names of checks, all if absent")
    given = parser.parse_args()
    settings = Settings.from_environment()
    checks: dict[str, Callable[[], str]] = {
        "store": lambda: check_store(settings),
        "mlflow": lambda: check_mlflow(settings, given.seconds),
        "prometheus": lambda: check_answer(settings.prometheus_url, "/-/ready", "PERENNIAL_PROMETHEUS_URL", given.seconds),
        "gateway": lambda: check_answer(settings.gateway_url, "/", "PERENNIAL_GATEWAY_URL", given.seconds),
        "serving": lambda: check_serving(settings),
    }
    unknown = sorted(set(given.only) - set(checks))
    if unknown:
        parser.error(f"there is no check {unknown[0]!r}: name {', '.join(checks)}")
    failed = 0
    for name in given.only or checks:
        try:
            print(f"ok      {name}: {checks[name]()}")
        except PerennialError as error:
            failed += 1
            print(f"FAILED  {name}: {error}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
