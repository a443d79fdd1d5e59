"""Passwords are hashed with less work, so that hundreds of logins cost no minutes."""

from collections.abc import Iterator

import pytest
from argon2 import PasswordHasher

from rtseg_daemon.web.people import passwords


@pytest.fixture(autouse=True)
def quick_passwords(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(passwords, "HASHER", PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    passwords.nobody.cache_clear()
    yield
    passwords.nobody.cache_clear()
