"""The pages for programs: the shapes of `--json` under /api/v1, metrics, and whether all is well."""
