"""People who label rows: which rows to ask about, what each person said, what they agree on, and which labels are doubtful."""
