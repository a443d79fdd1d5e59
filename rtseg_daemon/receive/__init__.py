"""Reception: from a stranger's socket to an object on disk and in the ledger."""
