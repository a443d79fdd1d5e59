"""A CT series read from its files: headers, preconditions, pixels, the volume."""
