"""From trained members to a bundle that may serve."""
