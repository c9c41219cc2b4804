"""Floor 0: what the broker knows, without I/O and without `await`."""
