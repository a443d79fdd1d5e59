"""Several machines: files that go from host to host, and who does what."""
