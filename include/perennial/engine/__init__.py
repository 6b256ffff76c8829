"""How a pass over many rows runs. What is counted, encoded or scored in it does not know."""
