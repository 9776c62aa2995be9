"""Training of any detector: bags, the loop, checkpoint selection, resuming."""
