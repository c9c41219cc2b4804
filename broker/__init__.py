"""The upload broker: mints signed requests, looks at what arrived, settles, hands out jobs."""

__version__ = "0.1.0"
