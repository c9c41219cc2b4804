"""The commands of `upload-broker`, a module for each group.

What a command does is imported when it runs: so each starts fast, and a bare install can still say what is missing.
"""
