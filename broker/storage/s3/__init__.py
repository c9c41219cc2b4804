"""Amazon S3 and its relatives: signers, the store's own calls, credentials, and what each dialect enforces."""
