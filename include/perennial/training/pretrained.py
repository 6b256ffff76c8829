"""Weights that lie in a model's folder, with which its network begins: fine-tuning.

    class Model(TaskModule):
        def __init__(self, encoder, spec):
            super().__init__(encoder, spec)
            self.body = Body()
            self.body.load_state_dict(torch.load(pretrained(__file__, "body.pt"), weights_only=True))

The bytes of every file of a model's folder are part of what a version is made of: another file is another training, and
`perennial reproduce` names it.
"""

from __future__ import annotations

import os
from pathlib import Path

from perennial.errors import TrainingRefused


def pretrained(model_file: str, name: str) -> Path:
    """The path of a file, or of a folder of files, beside a model's model.py.

    Args:
        model_file: `__file__` of the model.py.
        name: of the file, below the model's folder.

    Raises:
        TrainingRefused: it is not there.
    """
    folder = Path(model_file).parent
    path = Path(os.path.normpath(folder / name))
    if not path.is_relative_to(folder) or (path.is_symlink() and path.is_dir()):
        raise TrainingRefused(
            f"{folder.name} begins with {name}, which lies outside of {folder}: copy it there, so that its bytes count for a version."
        )
    if not path.exists():
        raise TrainingRefused(f"{folder.name} begins with {name}, which is not in {folder}: put it there.")
    return path
