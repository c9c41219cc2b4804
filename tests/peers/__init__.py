"""Real servers that the product must get along with."""
