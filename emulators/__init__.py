"""Strict stand-ins for real stores: for `dev`, for our tests and for the tests of those who adopt the broker.

Never for production. Nothing here imports the broker: the emulator verifies signatures with code of its own,
so that the signer and the verifier keep one another honest.
"""
