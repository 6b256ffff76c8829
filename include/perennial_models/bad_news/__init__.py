"""Bad news in what customers write: a small Transformer that reads a stream of short texts."""
