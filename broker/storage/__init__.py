"""Floor 2: one folder a storage service. Services do not know each other, nor who calls them."""
