"""DVC's files, byte for byte: what was expected here was written by DVC 3.67."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from perennial.data.dvc import (
    Content,
    Search,
    contents_below,
    digest_of,
    manifest,
    md5_of,
    object_place,
    pointer,
    read_pointer,
    repository_of,
)
from perennial.errors import BatchRefused, Fault, UnknownName

X, Y = "d644a230f3ef20b00879aaceb61790af", "764efa883dda1e11db47671c4a3bbd9e"  # of a\r\nb\n and of hi\n
FILES = [Content(Y, "y.csv", 3), Content(X, "d/x.csv", 5)]
MANIFEST = (
    b'[{"md5": "d644a230f3ef20b00879aaceb61790af", "relpath": "d/x.csv"}, {"md5": "764efa883dda1e11db47671c4a3bbd9e", "relpath": "y.csv"}]'
)
DIGEST = "2c2b9b9388345950dd10709b9404eb16.dir"
POINTER = f"outs:\n- md5: {DIGEST}\n  size: 8\n  nfiles: 2\n  hash: md5\n  path: sub\n"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A repository with the folder `sub` in its workspace."""
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text("[core]\n    analytics = false\n['remote \"store\"']\n    url = /elsewhere\n")
    (tmp_path / "sub/d").mkdir(parents=True)
    (tmp_path / "sub/d/x.csv").write_bytes(b"a\r\nb\n")
    (tmp_path / "sub/y.csv").write_bytes(b"hi\n")
    (tmp_path / "sub.dvc").write_text(POINTER)
    return tmp_path


def found(work: Path, *remotes: Path, name: str = "sub.dvc") -> dict[str, Path]:
    search = Search(work / name, remotes)
    return {given: path for out in read_pointer(work / name) for given, path in search.files(out)}


def test_what_dvc_writes_is_what_is_written(work: Path) -> None:
    """SY-17: Manifest, digest and `.dvc` file of a folder, to the byte."""
    assert manifest(FILES) == MANIFEST
    assert digest_of(MANIFEST) == DIGEST
    assert pointer("sub", FILES) == POINTER
    assert sorted(contents_below(work / "sub"), key=lambda one: one.path) == sorted(FILES, key=lambda one: one.path)
    assert md5_of(work / "sub/d/x.csv") == X


def test_facts_of_ones_own_stand_behind(work: Path) -> None:
    """SY-17: DVC keeps what is under `meta`, and a name that YAML would take for something else is quoted."""
    assert pointer("true", FILES, {"perennial": {"snapshot": 3}}) == POINTER.replace("path: sub", "path: 'true'") + (
        "meta:\n  perennial:\n    snapshot: 3\n"
    )


def test_content_lies_where_dvc_has_it(work: Path) -> None:
    """SY-17: Below `files/md5`, read-only; by DVC 2 below the cache itself."""
    repository = repository_of(work / "sub")
    assert repository is not None
    repository.keep(MANIFEST, DIGEST)
    repository.keep(work / "sub/y.csv", Y)
    place = work / ".dvc/cache/files/md5/2c/2b9b9388345950dd10709b9404eb16.dir"
    assert place.read_bytes() == MANIFEST
    assert place.stat().st_mode & 0o777 == 0o444
    assert object_place(repository.cache, Y, "md5").read_bytes() == b"hi\n"
    assert object_place(repository.cache, Y, "md5-dos2unix") == work / ".dvc/cache/76/4efa883dda1e11db47671c4a3bbd9e"
    repository.keep(b"something else", Y)
    assert object_place(repository.cache, Y, "md5").read_bytes() == b"hi\n"


@pytest.mark.parametrize(("config", "cache"), [("[cache]\ndir = ../shared\n", ".dvc/../shared"), ("[cache]\ndir = '/data/c'\n", "/data/c")])
def test_a_cache_elsewhere_is_found(work: Path, config: str, cache: str) -> None:
    """SY-17: As the configuration says, whose own file counts more than that of the repository."""
    (work / ".dvc/config.local").write_text(config)
    repository = repository_of(work / "sub/d")
    assert repository is not None
    assert (repository.root, repository.cache) == (work, work / cache)


def test_a_configuration_that_cannot_be_read_is_told(work: Path) -> None:
    """SY-17: Instead of looking in a place that is not meant."""
    (work / ".dvc/config").write_text("dir = nowhere\n")
    with pytest.raises(Fault, match=r"The configuration of DVC in .* cannot be read"):
        repository_of(work)


def test_outside_of_a_repository_there_is_none(tmp_path: Path) -> None:
    """SY-17: Files are then looked for beside the `.dvc` file and in copies of a remote."""
    assert repository_of(tmp_path / "not" / "there") is None


@pytest.mark.parametrize("where", ["workspace", "cache", "remote"])
def test_files_are_found_wherever_they_lie(work: Path, tmp_path: Path, where: str) -> None:
    """SY-17: In the workspace, in the cache, or in a copy of a remote."""
    place = tmp_path / "remote" if where == "remote" else work / ".dvc/cache"
    contents = {DIGEST: MANIFEST, X: b"a\r\nb\n", Y: b"hi\n"}
    if where != "workspace":
        for md5, content in contents.items():
            object_place(place, md5, "md5").parent.mkdir(parents=True)
            object_place(place, md5, "md5").write_bytes(content)
        (work / "sub/y.csv").unlink()
    files = found(work, *([place] if where == "remote" else []))
    assert {name: path.read_bytes() for name, path in files.items()} == {"sub/d/x.csv": b"a\r\nb\n", "sub/y.csv": b"hi\n"}


def test_a_single_file_is_found_by_its_own_name(work: Path) -> None:
    """SY-17: From where the `.dvc` file says that it works; what is right in a copy counts, and not what was changed here."""
    (work / "y.dvc").write_text(f"wdir: sub\nouts:\n- md5: {Y}\n  size: 3\n  hash: md5\n  path: y.csv\n")
    assert found(work, name="y.dvc") == {"y.csv": work / "sub/y.csv"}
    (work / "sub/y.csv").write_text("ho\n")
    kept = object_place(work / "copy", Y, "md5")
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"hi\n")
    assert found(work, work / "copy", name="y.dvc") == {"y.csv": kept}


@pytest.mark.parametrize(
    ("content", "counts_as"),
    [(b"a\r\nb\n", b"a\nb\n"), (b"a\0\r\nb", b"a\0\r\nb"), (b"\xff\xfe\xfd\r\n", b"\xff\xfe\xfd\r\n"), (b"", b"")],
)
def test_files_of_dvc_2_are_checked_as_it_did(work: Path, content: bytes, counts_as: bytes) -> None:
    """SY-17: Without the carriage returns of Windows, in what looks like a text."""
    (work / "sub/y.csv").write_bytes(content)
    md5 = hashlib.md5(counts_as, usedforsecurity=False).hexdigest()
    assert md5_of(work / "sub/y.csv", "md5-dos2unix") == md5
    (work / "y.dvc").write_text(f"outs:\n- md5: {md5}\n  path: sub/y.csv\n")
    assert found(work, name="y.dvc") == {"y.csv": work / "sub/y.csv"}
    kept = object_place(work / ".dvc/cache", md5, "md5-dos2unix")
    kept.parent.mkdir(parents=True)
    (work / "sub/y.csv").rename(kept)
    assert found(work, name="y.dvc") == {"y.csv": kept}


def test_three_in_ten_letters_may_be_strange_in_a_text(tmp_path: Path) -> None:
    """SY-17: As DVC tells texts from other files, in each megabyte anew."""
    for strange, is_text in ((3, True), (4, False)):
        file = tmp_path / str(strange)
        file.write_bytes(b"\xff" * strange + b"a" * (8 - strange) + b"\r\n")
        changed = md5_of(file, "md5-dos2unix") != md5_of(file)
        assert changed is is_text
    long = tmp_path / "long"
    long.write_bytes(b"\0" * (1 << 20) + b"a\r\n")
    assert md5_of(long, "md5-dos2unix") == hashlib.md5(b"\0" * (1 << 20) + b"a\n", usedforsecurity=False).hexdigest()


def test_what_is_nowhere_or_damaged_is_told(work: Path) -> None:
    """SY-17: Which file, where it was looked for, and what to run; a manifest of the workspace counts only if it is the one."""
    (work / "sub/y.csv").write_text("ho\n")
    with pytest.raises(BatchRefused, match=rf"The folder sub .*{DIGEST}\) is nowhere in the workspace and .*cache: run `dvc pull`"):
        found(work)
    place = object_place(work / ".dvc/cache", DIGEST, "md5")
    place.parent.mkdir(parents=True)
    place.write_bytes(MANIFEST)
    with pytest.raises(BatchRefused, match=rf"sub/y\.csv is not the file that is named \({Y}\): .*y\.csv has the MD5 .*`dvc checkout`"):
        found(work)
    (work / "sub/y.csv").unlink()
    with pytest.raises(BatchRefused, match=rf"sub/y\.csv \({Y}\) is nowhere in the workspace and .*--remote FOLDER"):
        found(work)
    place.write_bytes(MANIFEST + b" ")
    with pytest.raises(BatchRefused, match="The folder sub"):
        found(work)


@pytest.mark.parametrize("path", ["../y.csv", "/etc/passwd", "a/../../y.csv", "..\\\\y.csv", ""])
def test_a_manifest_leads_out_of_no_folder(work: Path, path: str) -> None:
    """SY-17: Whoever wrote it."""
    content = f'[{{"md5": "{Y}", "relpath": "{path}"}}]'.encode()
    (work / "sub.dvc").write_text(POINTER.replace(DIGEST, digest_of(content)))
    place = object_place(work / ".dvc/cache", digest_of(content), "md5")
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    with pytest.raises(BatchRefused, match="which is no file of the folder"):
        found(work)


@pytest.mark.parametrize("content", [b"{", b"[1]", b'[{"md5": 1}]', b"\xff"])
def test_what_is_no_manifest_is_told(work: Path, content: bytes) -> None:
    """SY-17: Although its MD5 is right."""
    (work / "sub.dvc").write_text(POINTER.replace(DIGEST, digest_of(content)))
    place = object_place(work / ".dvc/cache", digest_of(content), "md5")
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    with pytest.raises(BatchRefused, match="is no manifest of a folder"):
        found(work)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "it is no YAML"),
        ("\x00", "it is no YAML"),
        ("- a\n", "it has no list `outs`"),
        ("outs: []\n", "it has no list `outs`"),
        ("outs:\n- a\n", "it has no list `outs`"),
        (f"outs:\n- md5: {Y}\n", "an output without a path"),
        (f"outs:\n- md5: {Y}\n  path: s3://bucket/y.csv\n", "lies outside of the repository"),
        ("outs:\n- etag: abc\n  path: y.csv\n", "only the etag of another service"),
        ("outs:\n- path: y.csv\n", "has no MD5 for y.csv"),
        ("outs:\n- md5: abc\n  path: y.csv\n", "'abc' for y.csv, which is no MD5"),
        (f"outs:\n- md5: {Y}\n  hash: blake3\n  path: y.csv\n", "of the kind blake3"),
    ],
)
def test_what_is_no_dvc_file_is_told(tmp_path: Path, text: str, sentence: str) -> None:
    """SY-17: One sentence, with what to do."""
    (tmp_path / "y.dvc").write_text(text)
    with pytest.raises(BatchRefused, match=sentence):
        read_pointer(tmp_path / "y.dvc")
    with pytest.raises(UnknownName, match="cannot be read"):
        read_pointer(tmp_path / "absent.dvc")
