"""What the daemon knows: every series, job, delivery and event, in one database that survives any death."""
