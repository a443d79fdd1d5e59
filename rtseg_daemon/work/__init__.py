"""One job: from the files of a series to a structure set in the ledger."""
