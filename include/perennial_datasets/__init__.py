"""Datasets, one file each: the platform's, and those of the projects that `PERENNIAL_PROJECT` names."""

from perennial import projects

__path__ = projects.joined(__name__, __path__)
