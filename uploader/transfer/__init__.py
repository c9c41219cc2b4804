"""A manifest's files to the bucket."""
