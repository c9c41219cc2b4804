"""A Google Cloud Storage that checks what Google checks. See `emulators/README.md`; `faults.py` is its misbehaviour."""
