"""Delivery: structure sets on their way to their destinations."""
