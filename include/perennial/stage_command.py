"""Builds the argument list of a stage, whatever runs it. Light: DAG files import this.

>>> from perennial.stage_command import stage_command
>>> stage_command("train", {"model": "flight_delays", "snapshot": 12, "reason": ""})
['train', '--model=flight_delays', '--snapshot=12']
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from perennial.options import STAGES, Option

_ON = ("True", "true", "1")
_OFF = ("False", "false", "0")


def stage_command(stage: str, arguments: Mapping[str, object]) -> list[str]:
    """The arguments that follow `perennial`, e.g. `["train", "--model=flight_delays", "--snapshot=12"]`.

    Args:
        stage: name of a stage, a key of `options.STAGES`.
        arguments: by the stage's own argument names (`first`, `max_epochs`); None and "" are left out.

    Raises:
        ValueError: the stage does not know an argument, or a flag is neither true nor false.
    """
    known = check_arguments(stage, arguments)
    command = [stage]
    for name, option in known.items():
        value = arguments.get(name)
        if value is None or value == "":
            continue
        if not option.name.startswith("-"):
            command.append(str(value))
        elif option.type is not bool:
            command.append(f"{option.name}={value}")  # with "=": a value may begin with a dash
        elif str(value) in _ON:
            command.append(option.name)
        elif str(value) not in _OFF:
            raise ValueError(f"{option.name} of the stage {stage} is {value!r}: it must be true or false.")
    return command


def check_arguments(stage: str, names: Iterable[str]) -> dict[str, Option]:
    """The stage's options by argument name; raises ValueError when there is no such stage or argument."""
    if stage not in STAGES:
        raise ValueError(f"There is no stage {stage!r}. Known: {', '.join(STAGES)}.")
    known = {option.argument: option for option in STAGES[stage][1]}
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ValueError(f"The stage {stage} has no argument {unknown[0]!r}. Known: {', '.join(known)}.")
    return known
