"""Floor 3: the use cases over HTTP. Status codes live in `problems`, the table of routes in `operations`."""
