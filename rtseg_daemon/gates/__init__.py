"""The clinical checks: on the series, its voxels, the organs, and the file that was written."""
