"""How many requests a training and the looks at a release send to MLflow, and what finding a version costs its server.

    python benchmarks/registry_requests.py [--versions 10 1000] [--repeat 5] [--against TREE]

The first table counts requests to a real MLflow server (calls of its interface, and files that are put): the stages train, evaluate and
register of a small training of the digits, beside a champion, then each look at the release that follows. The second registers versions
without training and asks for one of them: milliseconds of CPU of the server's processes for a question, the mean over the repeats. With
`--against` the code of another checkout does the same.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from costs import interpreter

MODEL = "digits"
FIRST, DAYS, ROWS = date(2024, 1, 1), 12, 60
QUESTIONS = ("by alias", "by number", "by content", "whether it agrees with the ledger")


@contextlib.contextmanager
def counted() -> Iterator[list[str]]:
    """The requests that are sent to MLflow meanwhile, as method and path."""
    from perennial.registry.mlflow_server import MlflowServer

    exchange, sent = MlflowServer._exchange, list[str]()

    def counting(self: MlflowServer, method: str, target: str, *rest: Any) -> Any:
        sent.append(f"{method} {target.partition('?')[0].rpartition('/mlflow')[2]}")
        return exchange(self, method, target, *rest)

    with mock.patch.object(MlflowServer, "_exchange", counting):  # above it: a connection that was closed meanwhile is no request
        yield sent


def stages(folder: Path) -> dict[str, list[str]]:
    """What each stage and each look sent, in turn."""
    import pyarrow as pa

    from perennial import discovery
    from perennial.commands.land import encode
    from perennial.data.snapshots import latest_snapshot
    from perennial.specs import GateSpec, ReleaseSpec, SplitSpec
    from perennial.stages import evaluate, ingest, register, train
    from perennial.stages.release import Release
    from perennial.store import FolderStore
    from perennial.testing import RehearsedBackend, mlflow_server

    spec = discovery.model(MODEL)
    changes = {
        "split": SplitSpec(test_days=2, validation_days=2, min_train_rows=60),
        "training": spec.training.model_copy(update={"max_epochs": 12, "patience": 12, "batch_size": 32}),
        "gate": GateSpec(metric="log_loss", floors={}, margin=10.0, resamples=200),
        "release": ReleaseSpec(min_seconds=0, min_requests=100),
    }
    spec, found = spec.model_copy(update=changes), dict[str, list[str]]()
    with mlflow_server(folder) as served, mock.patch.object(discovery, "model", return_value=spec):
        store = FolderStore(str(folder / "store"))
        settings = served.model_copy(update={"home": folder / "home", "store": store.root, "landing_settle_seconds": 0})
        backend = RehearsedBackend()

        def land(first: int, last: int) -> None:
            for day in range(first, last):
                when = FIRST + timedelta(days=day)
                ((name, rows),) = discovery.dataset_module(MODEL).land(when, when)
                store.write(f"landing/{MODEL}/{name}", encode(name, pa.table(rows).slice(0, ROWS)))
            ingest.run(settings, store, MODEL)

        def version() -> None:
            snapshot = latest_snapshot(store, discovery.dataset(MODEL)).version
            with counted() as found["train"]:
                trained = train.run(settings, store, model=MODEL, snapshot=snapshot, cause="data")
            with counted() as found["evaluate"]:
                evaluated = evaluate.run(settings, store, MODEL, trained.digest, trained.run_id)
            with counted() as found["register"]:
                register.run(settings, store, model=MODEL, digest=trained.digest, run_id=trained.run_id, evaluation=evaluated.evaluation)

        def look(what: str) -> str:
            from perennial.registry.model_registry import ModelRegistry

            with counted() as found[what]:
                return Release(spec, settings, store, backend, ModelRegistry(settings)).look().action

        land(0, DAYS // 2)
        version()
        look("")
        look("a look without a candidate")
        land(DAYS // 2, DAYS)
        version()
        look("a look at a new candidate")
        look("a look under way, nothing new")
        for _ in range(50):
            backend.serve(2000)
            if look("the look that promotes") == "promoted":
                break
        look("a look after the end")
    found.pop("")
    return found


def questions(folder: Path, count: int, repeat: int) -> dict[str, float]:
    """Question -> milliseconds of the server's CPU."""
    import psutil

    from perennial.lineage.ledger import Ledger
    from perennial.registry.model_registry import ModelRegistry
    from perennial.stages import _agreement
    from perennial.store import FolderStore
    from perennial.testing import mlflow_server

    with mlflow_server(folder) as settings:
        registry, store = ModelRegistry(settings), FolderStore(str(folder / "store"))
        server = registry._server
        registry._create_model(MODEL)
        experiment = registry._experiment(MODEL)
        run = server.post("runs/create", experiment_id=experiment, run_name="one", start_time=0, tags=[])["run"]["info"]["run_id"]
        for number in range(1, count + 1):
            said = ("snapshot", "snapshot_digest", "code_digest", "lock_digest", "seed", "cause", "parents", "run_key", "gate", "folder")
            tags = [{"key": name, "value": f"{name} {number}"} for name in said] + [{"key": "digest", "value": f"{number:064d}"}]
            server.post("model-versions/create", name=MODEL, source=f"perennial:/{number}", run_id=run, tags=tags)
        champion = count - 3
        registry.set_alias(MODEL, "champion", champion)
        named = {number: f"{number:064d}" for number in range(champion - 4, champion + 1)}
        fields: dict[str, Any] = {"weights": {champion: 10_000}, "good": tuple(named)[-2::-1], "versions": named, "after_seq": None}
        Ledger(store, MODEL).append("released", version=champion, champion=champion, reason="First.", actor="perennial", **fields)

        def by_content(digest: str) -> object:
            if hasattr(registry, "find"):
                return registry.find(MODEL, digest)
            return next(version for version in registry.versions(MODEL) if version.digest == digest)

        asked = (
            lambda: registry.version(MODEL, "champion"),
            lambda: registry.version(MODEL, count // 2),
            lambda: by_content(f"{count // 2:064d}"),
            lambda: _agreement.require(store, registry, MODEL),
        )
        processes = [child for child in psutil.Process().children(recursive=True) if child.is_running()]

        def spent() -> float:
            return sum(sum(process.cpu_times()[:2]) for process in processes)

        found = {}
        for name, ask in zip(QUESTIONS, asked, strict=True):
            ask()
            before = spent()
            for _ in range(repeat):
                ask()
            found[name] = 1000 * (spent() - before) / repeat
        return found


def main() -> None:
    """Count, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--versions", type=int, nargs="*", default=[10, 1_000], help="versions that the registry has")
    parser.add_argument("--repeat", type=int, default=20, help="times that each question is asked")
    parser.add_argument("--against", default="", help="another checkout, whose code does the same")
    parser.add_argument("--child", nargs=2, metavar=("VERSIONS", "REPEAT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        count, repeat = map(int, given.child)
        with tempfile.TemporaryDirectory(prefix="perennial-registry-") as folder:
            print(json.dumps(questions(Path(folder), count, repeat) if count else stages(Path(folder))))
        return
    trees = {"now": "", **({"before": given.against} if given.against else {})}

    def child(tree: str, count: int) -> dict[str, Any]:
        command = [interpreter(tree), __file__, "--child", str(count), str(given.repeat)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode:
            sys.exit(ended.stderr)
        found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
        return found

    sent = {name: child(tree, 0) for name, tree in trees.items()}
    print("| what | " + " | ".join(f"{name}: calls | {name}: files" for name in trees) + " |")
    print("| --- |" + " --- | --- |" * len(trees))
    for what in sent["now"]:
        cells = []
        for name in trees:
            files = sum(one.startswith("PUT") for one in sent[name][what])
            cells.append(f"{len(sent[name][what]) - files} | {files}")
        print(f"| {what} | {' | '.join(cells)} |")
    print("\n| versions | finding one | " + " | ".join(f"{name}: ms CPU" for name in trees) + " |")
    print("| --- | --- |" + " --- |" * len(trees))
    for count in given.versions:
        found = {name: child(tree, count) for name, tree in trees.items()}
        for question in QUESTIONS:
            print(f"| {count:,} | {question} | {' | '.join(f'{found[name][question]:.1f}' for name in trees)} |", flush=True)


if __name__ == "__main__":
    main()
