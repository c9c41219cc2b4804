"""A Pub/Sub that lends, pushes with signed tokens and delivers at least once, over REST: see `command.py`."""
