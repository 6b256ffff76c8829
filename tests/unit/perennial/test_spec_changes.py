"""When DAG files are parsed before their time."""

from __future__ import annotations

import os

import pytest

from perennial.spec_changes import AGAIN_SECONDS, Seen, Wanted, look, python_files

A = frozenset({("a/spec.py", 1, 10)})
EDITED = frozenset({("a/spec.py", 2, 10)})
NOTHING, ALL = Wanted(everything=False, files=frozenset()), Wanted(everything=True)
NO_DAGS = frozenset[tuple[str, str]]()


def test_the_first_look_asks_for_nothing():
    """OP-05: When the processor starts, Airflow parses every file by itself; DAGs that were gone before are not looked for."""
    assert look(None, A, frozenset({("a_training", "training.py")}), 5.0) == (Seen(A, frozenset({("a_training", "training.py")})), NOTHING)


def test_nothing_is_parsed_where_nothing_changed():
    """OP-05: However often it is looked: what stands still costs no parse."""
    seen = Seen(A, NO_DAGS)
    for now in (0.0, 10.0, 1e6):
        assert look(seen, A, NO_DAGS, now) == (seen, NOTHING)


@pytest.mark.parametrize(
    "files",
    [EDITED, frozenset({("a/spec.py", 1, 11)}), A | {("b/spec.py", 1, 10)}, frozenset()],
    ids=["edited", "longer", "added", "removed"],
)
def test_a_change_is_parsed_at_once_and_once_more(files):
    """OP-05, DE-01: All DAG files at the next look; and a minute later again, since Airflow keeps what it saw a moment ago."""
    seen, wanted = look(Seen(A, NO_DAGS), files, NO_DAGS, 100.0)
    assert wanted == ALL
    assert look(seen, files, NO_DAGS, 100.0 + AGAIN_SECONDS - 0.1) == (seen, NOTHING)
    after, wanted = look(seen, files, NO_DAGS, 100.0 + AGAIN_SECONDS)
    assert (after, wanted) == (Seen(files, NO_DAGS), ALL)
    assert AGAIN_SECONDS == 60.0, "more than the 50 seconds for which Airflow keeps a DAG that is in its file no more"


def test_a_further_change_starts_the_minute_anew():
    """OP-05: Somebody who edits for a while has each edit parsed, and one more parse at the end."""
    seen, _ = look(Seen(A, NO_DAGS), EDITED, NO_DAGS, 0.0)
    seen, wanted = look(seen, A, NO_DAGS, 50.0)
    assert wanted == ALL
    assert look(seen, A, NO_DAGS, 60.0) == (seen, NOTHING)
    assert look(seen, A, NO_DAGS, 110.0)[1] == ALL


def test_a_dag_that_is_newly_gone_is_looked_for_once_more():
    """OP-05: Its file alone. A parse that failed, took too long or could not be stored takes DAGs away until the next one, which would be
    minutes off."""
    before, lost = frozenset({("old", "x.py")}), frozenset({("old", "x.py"), ("a_training", "training.py"), ("b_training", "training.py")})
    seen, wanted = look(Seen(A, before, 99.0), A, lost, 1.0)
    assert (seen, wanted) == (Seen(A, lost, 99.0), Wanted(everything=False, files=frozenset({"training.py"})))
    assert Wanted().everything is False
    assert look(seen, A, lost, 2.0)[1] == NOTHING
    back, wanted = look(seen, A, before, 3.0)
    assert (back.gone, wanted) == (before, NOTHING)


def test_python_files_are_found_with_time_and_size(tmp_path):
    """OP-05: In all folders below, without what Python compiled, hidden folders, other files and links to nowhere."""
    for name in ("one/spec.py", "one/deep/features.py", "one/__pycache__/spec.py", "one/.git/x.py", "one/README.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("12345")
    (tmp_path / "one" / "gone.py").symlink_to(tmp_path / "nowhere")
    os.utime(tmp_path / "one/spec.py", ns=(5, 7))
    found = python_files([tmp_path / "one", tmp_path / "absent"])
    assert {(path, size) for path, _, size in found} == {(f"{tmp_path}/one/spec.py", 5), (f"{tmp_path}/one/deep/features.py", 5)}
    assert (f"{tmp_path}/one/spec.py", 7, 5) in found
