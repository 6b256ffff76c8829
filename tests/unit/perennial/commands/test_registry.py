"""`perennial registry rebuild`: what it reads of the store (tests/integration/registry has the rest, with a real MLflow)."""

from __future__ import annotations

from pathlib import Path

import pytest

from perennial.commands.registry import Rebuild
from perennial.errors import StoredDataDamaged
from perennial.store import FolderStore
from perennial.testing import RegistryInMemory, small_model


@pytest.mark.parametrize("damage", [b"{", b"\xff", b"", b"[1]"])
@pytest.mark.parametrize("place", ["abc/evaluation.json", "recalibrations/1.json"])
def test_a_damaged_report_is_named(tmp_path: Path, place: str, damage: bytes) -> None:
    """OP-08, MN-18: A person can restore or delete it; there is no traceback, and nothing was changed before."""
    store, spec = FolderStore(str(tmp_path)), small_model()
    store.write(f"reports/{spec.name}/{place}", damage)
    with pytest.raises(StoredDataDamaged, match=f"reports/{spec.name}/{place} cannot be read: restore it"):
        Rebuild(spec, store, RegistryInMemory()).run(replace=False)
