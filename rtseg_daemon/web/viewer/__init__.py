"""The CT viewer: slices of a stored series, the contours that are delivered, and where the members disagree."""
