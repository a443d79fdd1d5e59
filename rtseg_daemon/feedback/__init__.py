"""What people changed comes back: structure sets received, paired with ours, measured."""
