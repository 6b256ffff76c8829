"""Where a training that may be killed keeps how far it was: a folder of this machine, and the store for other machines."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from perennial.store import Store


class Checkpoints:
    """The checkpoints of one training: in a folder of this machine, and below `prefix` in the store for other machines."""

    def __init__(self, folder: Path, store: Store | None = None, prefix: str = "") -> None:
        self.folder, self.store, self.prefix = folder, store, prefix

    @property
    def last(self) -> Path:
        """The checkpoint from which training resumes after the last finished epoch."""
        return self.folder / "last.ckpt"

    @property
    def best(self) -> Path:
        """The weights of the best epoch; resumption needs them too."""
        return self.folder / "best.ckpt"

    def restore(self) -> bool:
        """Whether there are checkpoints to resume from; they are then in the folder.

        Where there is a store, it alone counts: all machines agree on it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.store:
            if not self.store.exists(self._key(self.last)):
                return False
            for file in (self.best, self.last):
                unfinished = file.with_name(f"{file.name}.{os.getpid()}.unfinished")  # several processes of a machine restore at once
                try:
                    self.store.download(self._key(file), unfinished)
                except KeyError:
                    file.unlink(missing_ok=True)
                else:
                    os.replace(unfinished, file)
        return self.last.exists()

    def mirror(self, file: Path) -> None:
        """Copy one checkpoint into the store."""
        if self.store:
            self.store.upload(file, self._key(file))

    def remove(self) -> None:
        """Delete the checkpoints of this training, here and in the store."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.store:
            for checkpoint in list(self.store.list(self.prefix)):
                self.store.delete(checkpoint.key)

    def _key(self, file: Path) -> str:
        return f"{self.prefix}/{file.name}"
