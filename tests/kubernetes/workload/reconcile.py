"""`reconcile.py NAMESPACE HOST PORT FOLDER [CRDS]`: the reconciler and its ingress as a program, for tests without NumPy."""

from __future__ import annotations

import importlib.util
import signal
import sys
from pathlib import Path
from types import ModuleType

from perennial import testing


def load(name: str, file: Path) -> ModuleType:
    """A module beside this file, which is in no package."""
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def main(namespace: str, host: str, port: str, folder: str, crds: str = "") -> int:
    """Reconcile until TERM; exit code 1 and what went wrong if something did."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    here = Path(__file__).resolve().parent
    rig, reconciler = load("perennial_test_rig", here.parent / "cluster.py"), load("perennial_test_reconciler", here / "reconciler.py")
    cluster = rig.Cluster()
    if crds:
        reconciler.install(cluster, Path(crds))
    with testing.started(testing.Programs(Path(folder) / "logs")) as programs:
        envoy = Path(sys.prefix).parent / "tools" / "bin" / "envoy"
        ingress = reconciler.Ingress(programs, Path(folder) / "ingress", envoy, host, int(port), rig.free_port("127.0.0.1"))
        ingress.start()
        running = reconciler.Reconciler(cluster, namespace, ingress)
        running.start()
        print("reconciling", flush=True)
        try:
            signal.pause()
        finally:
            running.stop()
            print("\n".join(running.problems), flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
