"""An S3 that checks what S3 checks. See `emulators/README.md` for what that is, `faults.py` for its misbehaviour."""
