"""Passes over many rows, read batch by batch. The engine does not know what a pass counts, encodes or scores."""
