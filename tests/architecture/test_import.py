"""What `import perennial` costs: a DAG file pays it at each parse."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = "import sys; before = set(sys.modules); import perennial, json; print(json.dumps(sorted(set(sys.modules) - before)))"


def test_the_package_alone_loads_nothing_of_what_a_notebook_uses() -> None:
    """OP-10: Its names are looked up when they are asked for: neither pydantic nor any other module of the project comes with it."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert {module for module in loaded if module.startswith("perennial")} == {"perennial"}
    assert not {module.split(".")[0] for module in loaded} & {"pydantic", "numpy", "pandas", "pyarrow", "requests", "torch"}
