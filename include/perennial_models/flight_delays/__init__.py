"""The probability that a flight arrives more than a quarter of an hour late."""
