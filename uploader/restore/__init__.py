"""A tree of files back from what was verified: of a batch at the broker, or of a manifest."""
