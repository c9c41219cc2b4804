"""Benches: each runs both sides in turns on one machine. Run one as `python bench/NAME.py [--check]`."""
