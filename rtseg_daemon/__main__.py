"""`python -m rtseg_daemon` is `rtseg-daemon`."""

from rtseg_daemon.cli import main

main()
