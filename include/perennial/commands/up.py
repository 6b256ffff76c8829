"""`perennial up`: start the platform on this machine. Does nothing that is done already.

$ perennial up
"""

from __future__ import annotations

from perennial.local import airflow_programs, mlflow_program, stack
from perennial.settings import Settings
from perennial.stages import _agreement
from perennial.store import Store


def run(settings: Settings, store: Store) -> int:
    """Start the platform and say where it is, and whether its registry is the one that the store's ledgers tell of."""
    stack.start(settings, store, say=lambda sentence: print(sentence, flush=True))
    user, _ = airflow_programs.login(settings)
    for title, address in stack.addresses(settings).items():
        print(f"  {title:<12} {address}")
    print(f"Airflow's user is {user}; the password is in {airflow_programs.passwords_file(settings)}.")
    print(f"MLflow's user is {mlflow_program.login(settings)[0]}; the password is in {settings.mlflow_password}.")
    for sentence in _agreement.of_every_model(settings, store):
        print(sentence)
    return 0
