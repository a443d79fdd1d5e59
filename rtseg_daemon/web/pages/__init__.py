"""The pages of the dashboard. Each is made whole on the server, and brought up to date by the browser where it can."""
