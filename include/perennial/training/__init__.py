"""Training and measuring: the only part that knows torch and Lightning."""
