"""Floor 2: how the broker calls who is not its own: receivers of webhooks, and hosts of certificates."""
