"""The configuration: its sections with their defaults, and the file that is read."""
