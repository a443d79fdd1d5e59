"""`python -m rtseg_training` and `torchrun -m rtseg_training`."""

from rtseg_training.cli.app import main

main()
