"""The commands of `rtseg-train`."""
