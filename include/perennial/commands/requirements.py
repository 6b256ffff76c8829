"""Lists what each model must keep, the system requirement that it serves and whom to ask.

A limit (`serving.limits`) cannot be set without them; a floor (`gate.floors`) of an older spec may lack them, and CI can ask for them here.

$ perennial requirements --model flight_delays
"""

from __future__ import annotations

from perennial import discovery
from perennial.errors import EXIT_DONE, EXIT_FAULT
from perennial.results import on_terminal
from perennial.settings import Settings
from perennial.specs import HIGHER_IS_BETTER, ModelSpec
from perennial.store import Store


def run(settings: Settings, store: Store, *, model: str | None = None) -> int:
    """Print a line for each floor and limit, of one model or of all; 1 if a floor serves no requirement.

    Raises:
        UnknownName: there is no such model.
    """
    del settings, store
    specs = [discovery.model(model)] if model else list(discovery.models().values())
    lines, lacking = [], []
    for spec in specs:
        for name, value, words in kept_by(spec):
            lines.append(f"{spec.name}: {name} {value}: {words or 'serves no requirement'}")
            lacking += [] if words else [f"{spec.name} {name}"]
    print(on_terminal("\n".join(lines) or "No model has a floor or a limit."))
    if lacking:
        print(f"Give each a requirement and an owner in gate.requirements of its spec: {', '.join(lacking)}.")
    return EXIT_FAULT if lacking else EXIT_DONE


def kept_by(spec: ModelSpec) -> list[tuple[str, str, str]]:
    """Name, border and requirement of all that a version of a model must keep; of a floor that serves none the last is empty."""
    floors = [
        (name, f"{'at least' if name in HIGHER_IS_BETTER else 'at most'} {floor:g}", served.words if served else "")
        for name, floor in spec.gate.floors.items()
        for served in [spec.gate.requirements.get(name)]
    ]
    return [*floors, *((name, f"at most {limit.at_most:g}", limit.words) for name, limit in spec.serving.limits.items())]
