"""Suites: the expectations that a batch must meet, one JSON file of Great Expectations for each dataset.

>>> from perennial.quality.suites import load_suite
>>> load_suite("flights").name
'flights'
"""

from __future__ import annotations

import functools
import json
import logging
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perennial import discovery
from perennial.errors import SettingMissing, UnknownName

if TYPE_CHECKING:
    from great_expectations import ExpectationSuite

BATCH_ONLY = "batch"  # meta.scope of an expectation that says nothing about a snapshot, such as the rows of one file


def folder() -> Path:
    """The folder `great_expectations/` of the project.

    Raises:
        SettingMissing: it is not beside the installed package.
    """
    for above in Path(__file__).resolve().parents:
        if (above / "great_expectations" / "great_expectations.yml").is_file():
            return above / "great_expectations"
    raise SettingMissing(
        "The folder great_expectations/ is not above the package perennial: install the project from its checkout (`make "
        "setup`), or copy the folder into the image."
    )


@functools.cache
def great_expectations() -> Any:
    """Great Expectations, imported on first use because that takes seconds; it sends no usage data."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    logging.getLogger("great_expectations").setLevel(logging.ERROR)  # it tells of every function that it registers
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside the library and what it imports; none is ours
        import great_expectations as gx
    return gx


@functools.cache
def validator() -> Any:
    """A context in memory: validating in the folder's own context would write each batch into great_expectations.yml."""
    gx = great_expectations()
    from great_expectations.data_context.types.base import DataContextConfig, InMemoryStoreBackendDefaults, ProgressBarsConfig

    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(), progress_bars=ProgressBarsConfig(globally=False), analytics_enabled=False
    )
    return gx.get_context(mode="ephemeral", project_config=config)


def load_suite(dataset: str, *, without_batch_only: bool = False) -> ExpectationSuite:
    """The suite of a dataset.

    Args:
        dataset: name of the dataset.
        without_batch_only: leave out the expectations whose `meta.scope` is `batch`.

    Raises:
        UnknownName: the dataset has no suite.
        SettingMissing: the file is not a suite.
    """
    file = file_of(dataset)
    if not file.is_file() and (spec := discovery.datasets().get(dataset)) and spec.scores_of:
        empty: ExpectationSuite = great_expectations().ExpectationSuite(name=dataset)  # whoever scored has checked each row
        return empty
    if not file.is_file():
        raise UnknownName(
            f'The dataset {dataset} has no suite: write {file}, at least {{"name": "{dataset}", "expectations": []}}. Once rows are in, '
            f"perennial suite suggest --dataset {dataset} proposes what to ask of them."
        )
    return _loaded(file, file.stat().st_mtime_ns, without_batch_only)


def file_of(dataset: str) -> Path:
    """The file of a dataset's suite, whether it is there or not: in the project that the dataset lies in."""
    own = discovery.dataset_home(dataset)
    room = folder() if own in (None, Path(__file__).resolve().parents[3]) else own / "great_expectations"
    return room / "expectations" / f"{dataset}.json"


@functools.lru_cache(maxsize=16)
def _loaded(file: Path, _written: int, without_batch_only: bool) -> ExpectationSuite:
    gx = great_expectations()
    try:
        suite: ExpectationSuite = gx.get_context(mode="file", context_root_dir=str(file.parents[1])).suites.get(file.stem)
        expectations = list(suite.expectations)
        written = len(json.loads(file.read_text(encoding="utf-8"))["expectations"])
        if len(expectations) != written:  # the library leaves out what it does not understand, and only logs it
            raise ValueError(
                f"{written - len(expectations)} of its {written} expectations are not understood: their type or arguments are wrong"
            )
    except Exception as error:
        raise SettingMissing(
            f"The suite great_expectations/expectations/{file.name} cannot be read: {str(error).splitlines()[0]}. Correct it there."
        ) from error
    if without_batch_only:
        kept = [e.configuration for e in expectations if (e.meta or {}).get("scope") != BATCH_ONLY]
        suite = gx.ExpectationSuite(name=file.stem, expectations=kept)
    return suite
