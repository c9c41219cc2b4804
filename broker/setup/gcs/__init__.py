"""What a destination in Google Cloud Storage needs there: rights, the bucket's settings, who tells of it.

- `terms` – what has to be known of the destination; `rights`, `safeguards`, `senders` – what follows of it
- `documents` – all of it as one value; `terraform` and `gcloud` – the same, to be applied
"""
