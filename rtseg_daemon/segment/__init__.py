"""From a CT volume to organs with stated uncertainty."""
