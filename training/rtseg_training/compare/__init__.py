"""Methods compared under equal conditions, and the page of results."""
