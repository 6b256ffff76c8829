"""What the model knows of an image, as a tensor. Training and serving run this same file; it needs numpy alone."""

import numpy as np

from perennial.encoding import Block, Columns, Encoder, numbers

PIXELS = tuple(f"p{place:02d}" for place in range(64))


def label(columns: Columns) -> np.ndarray:
    """The digit, float64 [rows]; NaN where nobody has said it yet."""
    return numbers(columns["digit"])


def fit(columns: Columns) -> Encoder:
    """Nothing is learnt from the rows: ink goes from 0 to 16 by definition."""
    return Encoder({"image": [Block(PIXELS, shape=(1, 8, 8), scale=16.0)]})


def encode(encoder: Encoder, columns: Columns) -> dict[str, np.ndarray]:
    """`image` float32 [rows, 1, 8, 8], 0 is paper and 1 is ink."""
    return encoder.encode(columns)
