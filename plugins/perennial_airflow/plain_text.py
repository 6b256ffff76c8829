"""Text in the questions that Airflow shows as Markdown."""

from __future__ import annotations

import re


def plain(text: str) -> str:
    """One line that is shown as it stands; what stands between two backticks stays code."""
    parts = re.split(r"(`[^`]+`)", " ".join(text.split()))
    return "".join(part if at % 2 else re.sub(r"([\\`*_\[\]<>#|!~])", r"\\\1", part) for at, part in enumerate(parts))
