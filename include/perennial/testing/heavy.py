"""Imported once by the process that the tests' processes are forked from (`forks.py`): what takes each of them seconds."""

from perennial.quality.suites import great_expectations
from perennial.training import trainer  # noqa: F401

great_expectations()
