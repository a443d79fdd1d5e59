"""Training: recipe, patches, losses, one trainer for every family."""
