"""The demonstration: a phantom that goes through the real daemon, and a picture of the result."""
