"""The CT viewer: slices of a stored series, the contours of the file that is delivered, and where the members disagree."""
