"""Google's identity services in one process: OAuth tokens, IAM Credentials, STS, metadata server, certificates."""
