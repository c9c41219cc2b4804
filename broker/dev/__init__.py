"""Roof: the whole loop on one machine, for `dev`, the demo and tests. Never imported by the service."""
