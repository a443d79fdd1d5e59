"""The RT Structure Set: written, and read back."""
