"""Data sets: imported, named, split, looked through."""
