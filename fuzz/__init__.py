"""Coverage-guided fuzzing of everything that reads a stranger's bytes on the reception path."""
