"""A training in a process of its own, started by the tests beside it: ROOT NAME NODES EPOCHS."""

import logging
import os
import signal
import sys
import threading
from pathlib import Path

from perennial import discovery
from perennial.data.snapshots import Snapshot
from perennial.stages.train import fill_version_folder
from perennial.store import FolderStore
from perennial.training.checkpoints import Checkpoints


class KilledAfter(logging.Handler):
    """Kills this process in the middle of the epoch that follows the one it is given, with no chance to tidy up.

    Eight epochs take half a second: a process that looks from outside now and then may find the training at its end.
    """

    def __init__(self, epoch: str) -> None:
        super().__init__()
        self.epoch = epoch

    def emit(self, record: logging.LogRecord) -> None:
        """Look at one line of the log."""
        if record.getMessage().startswith(f"Epoch {self.epoch} of"):
            threading.Timer(0.03, os.kill, (os.getpid(), signal.SIGKILL)).start()


def main() -> None:
    """Train into ROOT/NAME on snapshot 1 of ROOT/store; the log goes to stdout, its last line says what this process was."""
    root, name, nodes, epochs = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stdout)
    if "KILLED_AFTER" in os.environ:
        logging.getLogger().addHandler(KilledAfter(os.environ["KILLED_AFTER"]))
    store, spec, dataset = FolderStore(str(root / "store")), discovery.model("flight_delays"), discovery.dataset("flights")
    spec = spec.model_copy(update={"compute": spec.compute.model_copy(update={"nodes": nodes})})
    checkpoints = Checkpoints(root / "runs" / name, store, f"models/flight_delays/runs/{name}")
    first = fill_version_folder(root / name, spec, dataset, Snapshot(dataset, 1, store), checkpoints=checkpoints, max_epochs=epochs)
    print("main" if first else "helper")


if __name__ == "__main__":
    main()
