"""Tables of a ledger that several hosts share. Times are the database's, in seconds since 1970-01-01 UTC."""

from sqlalchemy.orm import Mapped, mapped_column

from rtseg_daemon.ledger.schema import Base


class Host(Base):
    """One daemon of several, as it last said of itself."""

    __tablename__ = "host"

    name: Mapped[str] = mapped_column(primary_key=True)
    storage: Mapped[str]
    """Tells its storage directory from every other, so that two sites do not work under one name."""
    version: Mapped[str]
    address: Mapped[str] = mapped_column(default="")
    """Where other hosts get its files, `host:port`. Empty where it serves none."""
    draining: Mapped[bool] = mapped_column(default=False)
    """Whether it is to take no further job."""
    started_at: Mapped[float]
    seen_at: Mapped[float]


class Duty(Base):
    """Work that one host at a time does for all: the sweep, a destination's queue."""

    __tablename__ = "duty"

    name: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str]
    token: Mapped[int]
    """Grows whenever another one takes it over."""
    until: Mapped[float]
