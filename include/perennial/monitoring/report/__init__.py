"""The report of a window of live traffic: its numbers (`numbers.py`), and the page that shows them (`page.py`)."""
