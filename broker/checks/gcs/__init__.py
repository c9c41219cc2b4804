"""A check of a destination in Google Cloud Storage: its site, what refusals mean there, and the steps that only it has.

What the documentation leaves open of resumable uploads is tried, and said: what a bucket was seen to refuse may stand
in `proved` of its destination, and is a promise then.
"""
