"""What somebody must know or do: incidents, and the requests for retraining, each as what numbered events in the store add up to."""
