"""What a look at a window of live traffic tells: its numbers (`numbers.py`), and the page that shows them (`page.py`)."""
