"""Notifiers: they send alerts about incidents by mail and by webhook."""
