"""The processes of a distributed training: how many there are, and which one seals the version.

Each node runs the same command; `MASTER_ADDR`, `MASTER_PORT` and `NODE_RANK` say where the first node is and which one this is. On a
node with several GPUs Lightning starts one more process for each further GPU and gives it a `LOCAL_RANK`.
"""

from __future__ import annotations

import os

from perennial.specs import ComputeSpec


def process_count(compute: ComputeSpec) -> int:
    """Number of processes that train together."""
    return max(compute.gpus, 1) * compute.nodes


def is_helper(compute: ComputeSpec) -> bool:
    """Whether this process is not the first: the first process of the first node seals the version, and it alone answers with a result."""
    return process_count(compute) > 1 and any(int(os.environ.get(name) or 0) for name in ("NODE_RANK", "LOCAL_RANK"))
