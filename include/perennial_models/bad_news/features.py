"""What the model knows of a remark, as a tensor. Training and serving run this same file; it needs numpy alone."""

import numpy as np

from perennial.encoding import Columns, Encoder, Words, numbers

BAD = -0.5  # the mean rating up to which a remark is bad news
WORDS = 40  # that are read; one remark in twenty has more


def label(columns: Columns) -> np.ndarray:
    """1.0 where people rated a remark as bad, 0.0 where they did not, NaN where they have not read it yet."""
    rating = numbers(columns["rating"])
    return np.where(np.isnan(rating), np.nan, (rating <= BAD).astype(np.float64))


def fit(columns: Columns) -> Encoder:
    """The words of these rows: the training split alone."""
    return Encoder({"remark": [Words.fit(columns, "remark", WORDS, min_rows=2)]})


def encode(encoder: Encoder, columns: Columns) -> dict[str, np.ndarray]:
    """`remark` int64 [rows, 40]: codes of words, 0 behind the last one."""
    return encoder.encode(columns)
