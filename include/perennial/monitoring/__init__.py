"""Watching live traffic: predictions and outcomes, drift, performance, and when training is asked for."""
