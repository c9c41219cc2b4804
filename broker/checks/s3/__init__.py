"""A check of a destination in S3: its site, what refusals mean there, and the steps that only S3 has."""
