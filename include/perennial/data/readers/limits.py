"""The largest file that a dataset takes."""

from __future__ import annotations

from perennial.errors import BatchRefused
from perennial.specs import DatasetSpec


def refuse_too_large(size: int, spec: DatasetSpec, name: str) -> None:
    """Raises BatchRefused if a file of `size` bytes, packed or unpacked, is beyond the dataset's limit."""
    if size > spec.max_batch_bytes:
        raise BatchRefused(
            f"{name} is larger than {_megabytes(spec.max_batch_bytes)}, the most that {spec.name} takes in one file: "
            "split it by time into smaller files, or raise max_batch_bytes in the dataset's spec."
        )


def _megabytes(size: int) -> str:
    return f"{size / (1 << 20):,.0f} MB" if size >= 1 << 20 else f"{size:,} bytes"
