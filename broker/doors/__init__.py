"""Floor 2: doors. Each authenticates one sender's envelope and turns it into hints; one file a wire format."""
