"""The other side of a bench: what people write today, written well."""
