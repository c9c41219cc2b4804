"""Floor 3: what an operator sets up for a destination, as documents to paste and as Terraform.

`terms.py` is what has to be known of a destination; `rights.py`, `safeguards.py` and `senders.py` say what follows for
credentials, for the bucket and for those who tell of uploads; `documents.py` is all of it together, `terraform.py` the
same in HCL. Nothing here calls anybody: what a document does, its operator does with it.
"""
