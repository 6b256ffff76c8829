"""Incidents and retraining requests, each stored as a log of numbered events."""
