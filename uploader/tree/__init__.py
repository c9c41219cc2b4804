"""Trees of files: made for tests, walked, and kept in a manifest that survives any end of its process."""
