"""Floor 3: what `upload-broker check` tries on a real store, one small step a promise.

A step is a code, a sentence and a coroutine (`steps.py`); `table.py` is all of them in order. They work with the very
adapters that serve (`site.py`), send what was signed as a stranger would (`stranger.py`), and note whatever they may
have made (`leftovers.py`), so that it goes again however the check ends. Nothing here knows settings or a terminal.
"""
