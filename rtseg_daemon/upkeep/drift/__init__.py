"""Drift: control charts of what bundles contour, and of what people change of it."""
