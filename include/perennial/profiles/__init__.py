"""Profiles: counts of a dataset's rows by day, the layout by which they are counted, and the reference for drift."""
