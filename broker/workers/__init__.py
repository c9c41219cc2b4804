"""Floor 3: loops that must live. Each catches everything at its top, logs it and goes on."""
