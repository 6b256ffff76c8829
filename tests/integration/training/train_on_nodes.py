"""One node of a small training, started by the tests beside it: FOLDER NODES EPOCHS WAIT_SECONDS.

Like a pod, a node has a disk of its own and shares the store alone. The log goes to stdout; the last line is what this node has at the end,
as JSON, or the sentence with which it broke.
"""

import json
import logging
import os
import sys
from datetime import timedelta
from pathlib import Path

import torch

from perennial.encoding import Encoder
from perennial.errors import PerennialError
from perennial.specs import ComputeSpec, GateSpec, ModelSpec, TrainingSpec
from perennial.store import FolderStore
from perennial.training import trainer
from perennial.training.batches import Rows
from perennial.training.module import TaskModule

ROWS = 400  # as many as two nodes can share without a rest


class Small(TaskModule):
    """A layer without dropout: what it learns follows from the rows alone, whoever has seen them."""

    def __init__(self, encoder: Encoder, spec: ModelSpec) -> None:
        super().__init__(encoder, spec)
        self.layer = torch.nn.Linear(3, len(spec.classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        found: torch.Tensor = self.layer(x)
        return found


def rows(seed: int) -> Rows:
    """Rows whose label follows x, with noise."""
    numbers = torch.Generator().manual_seed(seed)
    x = torch.randn(ROWS, 3, generator=numbers)
    return Rows({"x": x}, (x.sum(dim=1) + 0.5 * torch.randn(ROWS, generator=numbers) > 0).long())


def main() -> int:
    """Train; the exit code is a stage's."""
    folder, nodes, epochs = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    trainer.WAIT = timedelta(seconds=float(sys.argv[4]))
    logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stdout)
    spec = ModelSpec(
        name="small", title="Small", owner="tests", dataset="none", task="binary", inputs=("x",), label="y", classes=("no", "yes"),
        compute=ComputeSpec(cpus=1, nodes=nodes), gate=GateSpec(floors={}),
        training=TrainingSpec(max_epochs=epochs, patience=epochs, batch_size=32, seed=5, hyperparameters={"learning_rate": 0.02}),
    )  # fmt: skip
    disk = folder / f"node-{os.environ.get('NODE_RANK', '0')}"
    checkpoints = trainer.Checkpoints(disk, FolderStore(str(folder / "store")), "models/small/runs/k")
    try:
        trained = trainer.train(spec, model_class=Small, encoder=Encoder({}), training=rows(1), validation=rows(2), checkpoints=checkpoints)
    except PerennialError as error:
        print(error)
        return error.exit_code
    weights = {name: value.tolist() for name, value in trained.module.state_dict().items()}
    print(json.dumps({"main": trained.main, "resumed_from": trained.resumed_from, "history": trained.history, "weights": weights}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
