"""Floor 2: how the broker calls receivers that are not its own."""
