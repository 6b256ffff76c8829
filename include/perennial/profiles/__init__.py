"""What rows looked like, day by day: how a dataset's rows are counted, the counts of each batch, and what drift is measured against."""
