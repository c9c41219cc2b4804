"""What a command ends with, as its help says it."""

EXIT_CODES = """\b
Exit codes:
  0    every file reached the state that was asked for, or was skipped and said so
  1    some files failed or were rejected; a file could not be read, or changed; the manifest is in use
  2    wrong usage, or a configuration file that is none
  3    the broker refuses: key, role, destination, or a declaration that it does not accept
  4    broker or store unreachable, or the state did not come in time; the same command goes on (of one
       file, if it was sent in parts or pieces)
  5    every file has as many copies as its session needs, but some are missing; the same command sends
       them alone
  130  interrupted; the same command goes on (of one file, if it was sent in parts or pieces or to
       several; else its session was aborted)
"""
