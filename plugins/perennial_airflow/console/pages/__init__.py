"""A module for each page of the console: which view it shows, at which address, to whom."""
