"""How many minutes late the flights of an airport's next hour will leave, on average: trees for a regression on time."""
