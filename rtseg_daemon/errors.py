"""Every error the daemon raises on purpose. A docstring is what the operator should understand from it."""


class RtsegError(Exception):
    """Something went wrong that has a name. The message says what, why and what to do."""


class ConfigError(RtsegError):
    """The configuration file is wrong. The message names the key and the line."""


class BundleError(RtsegError):
    """A model bundle is missing, altered or of an unknown format. The message names the file."""


class SeriesError(RtsegError):
    """A CT series cannot be made into a volume. The message says which precondition fails.

    `precondition` is its short name (see `rtseg_daemon.ct.preconditions.PRECONDITIONS`), empty if none is meant.
    """

    def __init__(self, message: str, precondition: str = "") -> None:
        super().__init__(message)
        self.precondition = precondition


class StructureSetError(RtsegError):
    """A structure set cannot be read or written for this CT. The message names the ROI or element."""


class EngineError(RtsegError):
    """No engine can run this bundle on this machine. The message names device, backend and reason."""


class CardLost(EngineError):
    """A graphics card or its driver failed. This process cannot use it again, another one may."""


class DeviceError(EngineError, ConfigError):
    """The configuration asks for a device or backend that this machine does not have. The message says what to set."""


class LedgerError(RtsegError):
    """The ledger cannot be opened or read. The message names the database and what to do."""


class StateError(RtsegError):
    """What was asked for does not fit the state of the job, series or delivery. The message names both."""


class AlreadyDecided(StateError):
    """Somebody else decided first. The message says who, what and when, and that nothing was changed."""


class LeaseLost(RtsegError):
    """The job this worker held was taken from it. Its result is thrown away."""


class DutyLost(RtsegError):
    """Work that one host does for all was taken over by another host. What was about to be written is not."""


class MadeWay(RtsegError):
    """A shadow's job was at work and somebody waits for another one. It is done later, from the beginning."""


class FeedbackError(RtsegError):
    """What came back cannot be exported. The message names the case or the folder, and what to do."""


class StorageError(RtsegError):
    """The storage directory cannot be used, another daemon uses it, or a file in it is damaged. The message says so."""


class StorageFull(StorageError):
    """A disk is full, or cannot be written now. What needs it waits, and is tried again."""


class ExchangeError(RtsegError):
    """A file could not be fetched from another host, or brought there. The message names the host and the reason."""


class HostAway(ExchangeError):
    """Another host does not answer now. What needs its files waits, and is tried again."""


class HostGone(ExchangeError):
    """A host was taken out of the ledger, and what it had went with it. The series must be sent again."""


class ClusterError(RtsegError):
    """Ray cannot be used now. The message names its address, and says what to look at."""


class DeliveryError(RtsegError):
    """A structure set could not be sent. The message says what the destination or the network answered."""


class Withdrawn(RtsegError):
    """Something came between after which a structure set may not be sent, although its sending had begun."""


class NotDecompressed(RtsegError):
    """A destination takes an image uncompressed alone, and it cannot be decompressed. The message says why."""


class ContextRefused(DeliveryError):
    """The peer accepts the association, but not this kind of object or service. It must be set up for it."""


class Undecided(RtsegError):
    """Two images could not be compared now, for want of time, memory or a process. That says nothing of the images."""


class PeopleError(RtsegError):
    """An account, password or token cannot be as asked: a name that is taken or unknown, a password that is too short.
    Choose another one."""


class NotShown(RtsegError):
    """The viewer cannot show what was asked for. The message says why and what to do.

    `status` is the HTTP status that says the same to a program.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
