"""What the tests of seal/ share: one account, cheap parameters, one slot, one keyring."""

import pytest
from hypothesis import settings

from aerogramme.seal import Argon2Params, Keyring, Secret, Slot, SlotPrivate

settings.register_profile("no deadline", deadline=None)  # a busy machine is not a failure
settings.load_profile("no deadline")


@pytest.fixture(scope="session")
def account() -> bytes:
    return bytes(range(16))


@pytest.fixture(scope="session")
def cheap() -> Argon2Params:
    return Argon2Params(memory=8, passes=1, lanes=1)


@pytest.fixture(scope="session")
def opened_slot(cheap: Argon2Params) -> tuple[Slot, SlotPrivate]:
    return Slot.create(Secret("correct horse"), "password", "", cheap)


@pytest.fixture(scope="session")
def keyring(account: bytes, opened_slot: tuple[Slot, SlotPrivate]) -> Keyring:
    return Keyring.create(account).admit(opened_slot[1]).rotate()
