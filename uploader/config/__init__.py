"""The configuration file of the command: what a person does not want to say each time."""
