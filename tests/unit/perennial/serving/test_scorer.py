"""One version folder, loaded and asked."""

import json
import shutil

import numpy as np
import pytest

from perennial import testing
from perennial.serving.request import read_request
from perennial.serving.scorer import Scorer, ScoringFailed
from perennial.store import FolderStore


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A small version."""
    return testing.small_version(tmp_path_factory.mktemp("version"))


@pytest.fixture
def folder(original, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(original, tmp_path / "version")


def columns(scorer, rows):
    """Rows as a request brings them."""
    return read_request(json.dumps({"data": {"rows": rows}}), scorer.signature).columns


def test_scores_do_not_depend_on_the_company(original):
    """SE-01, DE-14: A row scores the same alone and among others, null and unseen values included."""
    scorer = Scorer(original)
    rows = [*testing.small_rows(20, seed=4), {**testing.small_rows(1)[0], "carrier": "never seen", "temp": None}]
    together = scorer.score(columns(scorer, rows))
    alone = np.concatenate([scorer.score(columns(scorer, [row])) for row in rows])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    assert together.shape == (21, 2)


def test_golden_rows_of_a_good_version_replay(original):
    """MO-14: A version scores its golden rows here as it did where it was made."""
    assert Scorer(original).replay() is None


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            lambda golden: golden["scores"][2].__setitem__(0, golden["scores"][2][0] + 0.01),
            r"Golden row 2 scores .* differ by 0\.01, more than 0\.0001",
        ),
        (lambda golden: golden["scores"][0].__setitem__(0, float("nan")), "Golden row 0 scores"),
        (lambda golden: golden["scores"].pop(), "golden.json has scores of shape"),
        (lambda golden: golden.update(rows=[], scores=[]), "golden.json has scores of shape"),
        (
            lambda golden: golden["rows"][0].update(distance="far"),
            "The golden rows cannot be scored. Row 0: distance must be a whole number",
        ),
        (lambda golden: golden.pop("tolerance"), "golden.json cannot be replayed: KeyError"),
    ],
)
def test_golden_rows_that_differ_are_told(folder, spoil, sentence):
    """MO-14, DE-11: A difference, a damaged file and rows that the signature refuses each keep a version from serving, with the reason."""
    golden = json.loads((folder / "golden.json").read_text())
    spoil(golden)
    (folder / "golden.json").write_text(json.dumps(golden))
    found = Scorer(folder).replay()
    assert found is not None
    import re

    assert re.match(sentence, found), found


@pytest.mark.parametrize("name", ["model.onnx", "encoder.json", "signature.json", "features.py"])
def test_a_folder_that_lacks_a_file_is_told(folder, name):
    """MO-14: A version folder without one of its files cannot be loaded, and the error says so."""
    (folder / name).unlink()
    with pytest.raises(ScoringFailed, match="cannot be loaded"):
        Scorer(folder)


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("def encode(encoder, columns):\n    raise KeyError('colour')\n", "failed on this request: KeyError: 'colour'"),
        ("import sys\ndef encode(encoder, columns):\n    sys.exit('enough')\n", "failed on this request: SystemExit: enough"),
        (
            "import sys\ndef encode(encoder, columns):\n    t = encoder.encode(columns)\n"
            "    t['numbers'][:] = float('nan')\n    return t\n",
            "row 0 a score that is not a finite number",
        ),
    ],
)
def test_a_version_that_fails_is_told_from_a_bad_request(folder, code, sentence):
    """SE-10: What a version's own code raises, and scores that are no numbers, are the version's failure."""
    (folder / "features.py").write_text(code)
    scorer = Scorer(folder)
    with pytest.raises(ScoringFailed, match=sentence):
        scorer.score(columns(scorer, testing.small_rows(2)))


def test_a_version_whose_code_ends_the_process_is_no_version(folder):
    """SE-10: A server that loads it says so, and does not wait for it for ever."""
    (folder / "features.py").write_text("import sys\nsys.exit(3)\n")
    with pytest.raises(ScoringFailed, match="cannot be loaded: SystemExit: 3"):
        Scorer(folder)


def test_scores_of_another_shape_are_refused(folder):
    """MO-14: A version with another number of classes than its signature says does not answer."""
    signature = json.loads((folder / "signature.json").read_text())
    (folder / "signature.json").write_text(json.dumps({**signature, "classes": ["a", "b", "c"]}))
    scorer = Scorer(folder)
    with pytest.raises(ScoringFailed, match=r"shape \[1, 2\] for 1 rows and 3 scores"):
        scorer.score(columns(scorer, testing.small_rows(1)))


def test_a_saboteur_passes_the_golden_rows_and_fails_the_wanted_share(tmp_path):
    """DE-11: A sabotaged version is properly published, replays its golden rows and fails about the wanted share of other rows, always the
    same."""
    store = FolderStore(str(tmp_path / "store"))
    good = testing.publish_small_version(store, tmp_path / "good")
    bad = testing.sabotage(store, "small_delays", good, tmp_path / "bad", share=0.3)
    assert bad != good
    scorer = Scorer(tmp_path / "bad")
    assert scorer.replay() is None

    def fails(row):
        try:
            scorer.score(columns(scorer, [row]))
        except ScoringFailed:
            return True
        return False

    rows = testing.small_rows(400, seed=9)
    failed = [fails(row) for row in rows]
    assert failed == [fails(row) for row in rows]
    assert 0.2 < sum(failed) / len(failed) < 0.4
