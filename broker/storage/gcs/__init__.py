"""Google Cloud Storage: V4 signed URLs, resumable sessions, and the broker's own calls over the JSON API."""
