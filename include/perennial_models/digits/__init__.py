"""Which digit a small handwritten image shows."""
