"""Every error the daemon raises on purpose. A docstring is what the operator should understand from it."""


class RtsegError(Exception):
    """Something went wrong that has a name; the message says what, why and what to do."""


class ConfigError(RtsegError):
    """The configuration file is wrong; the message names the key and the line."""


class BundleError(RtsegError):
    """A model bundle is missing, altered or of an unknown format; the message names the file."""


class SeriesError(RtsegError):
    """A CT series cannot be made into a volume; the message says which precondition fails."""


class StructureSetError(RtsegError):
    """A structure set cannot be read or written for this CT; the message names the ROI or element."""


class EngineError(RtsegError):
    """No engine can run this bundle on this machine; the message names device, backend and reason."""
