"""Engines: the same networks on a GPU or on a processor."""
