"""Floor 2: one use case a file, each a frozen dataclass whose fields are its rights. Called like the verb it is."""
