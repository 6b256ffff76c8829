"""The registry: runs, versions and their roles in MLflow, and the gate in front of it."""
