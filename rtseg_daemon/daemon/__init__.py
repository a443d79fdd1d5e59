"""The supervisor: starts, watches and restarts the processes that do the work, and does the housekeeping."""
