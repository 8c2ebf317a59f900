"""Two change the keys of an account at the same time: one stands still at any of its store calls, or has died
there and what it wrote comes late, while the other makes its change from beginning to end."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import pytest
import trio

from aerogramme.errors import AerogrammeError, AuthenticationFailed, Refused, Unavailable
from aerogramme.mailbox.keys import changing, keys, passwords
from aerogramme.seal import Argon2Params, Code, Keyring, Secret
from aerogramme.store.faults import Crash, Step
from aerogramme.store.memory import MemoryStores
from aerogramme.store.port import Store
from tests.helpers.clocks import run_here

ID = "00112233445566778899aabbccddeeff"
CHEAP = Argon2Params(memory=8, passes=1, lanes=1)
OLD, FIRST, SECOND = Secret("old"), Secret("first"), Secret("second")
INVITATION = Code.generate("invitation")
CALLS = 24  # more than any change makes


@pytest.fixture(autouse=True)
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A password that costs nothing is tried before a thread for it has begun."""
    monkeypatch.setattr(trio.to_thread, "run_sync", run_here)


class Still:
    """A process that stands still in its n-th call, of which the first `steps` have happened; with `dies`, it
    never goes on, and the rest happens when `late` is called."""

    def __init__(self, n: int, steps: int, *, dies: bool) -> None:
        self.n, self.steps, self.dies = n, steps, dies
        self.calls = 0
        self.reached = False
        self.stands, self.go_on = trio.Event(), trio.Event()  # it stands still, or is over
        self._rest: Sequence[Step] = ()

    async def read(self) -> int:
        await self.write(())
        return 0

    def shows(self) -> bool:
        return False

    async def write(self, steps: Sequence[Step]) -> None:
        await trio.lowlevel.checkpoint()
        self.calls += 1
        if self.calls == self.n:
            for step in steps[: self.steps]:
                step()
            self._rest = steps = steps[self.steps :]
            self.reached = True
            self.stands.set()
            if self.dies:
                raise Crash
            await self.go_on.wait()
        for step in steps:
            step()

    def late(self) -> None:
        for step in self._rest:
            step()


Verb = Callable[[Store, Secret], Awaitable[object]]


async def rotate(store: Store, _: Secret) -> object:
    stored = await keys.StoredKeys.read(store)
    return await passwords.add_generation(store, ID, stored, (await stored.unlock(ID, OLD)).slot)


VERBS: dict[str, Verb] = {
    "passwd": lambda store, new: passwords.change_password(store, ID, OLD, new, CHEAP),
    "accept": lambda store, new: passwords.accept_invitation(store, ID, INVITATION.secret, new, CHEAP),
    "code": lambda store, _: passwords.new_recovery_code(store, ID, OLD, CHEAP),
    "app": lambda store, new: passwords.create_app_password(store, ID, OLD, new.reveal().decode()),
    "revoke": lambda store, _: passwords.revoke(store, ID, OLD, "phone"),
    "rotate": rotate,
}
PAIRS = [
    *(("passwd", "passwd"), ("accept", "accept"), ("passwd", "rotate"), ("rotate", "passwd")),
    *(("rotate", "rotate"), ("app", "revoke"), ("code", "passwd"), ("revoke", "rotate")),
]


class Played:
    """An account, what was sealed in it on the way, and what became of the two changes."""

    def __init__(self, stores: MemoryStores, store: Store, phone: Code | None, recovery: Code | None) -> None:
        self.stores, self.store, self.phone, self.recovery = stores, store, phone, recovery
        self.sealed: list[bytes] = []
        self.outcomes: dict[str, object] = {}

    @classmethod
    async def begin(cls, serial: bool, *, invited: bool) -> "Played":
        stores = MemoryStores(serial=serial)
        store = await stores.open(ID, create=True)
        secret = INVITATION.secret if invited else OLD
        _, recovery = await passwords.create_keys(store, ID, secret, CHEAP, invitation=invited)
        phone = None if invited else await passwords.create_app_password(store, ID, OLD, "phone")
        return cls(stores, store, phone, recovery)

    async def run(self, name: str, verb: str, store: Store, new: Secret) -> None:
        """Notes what the change returned, or why it failed: only because the other was faster."""
        try:
            self.outcomes.pop(name, None)
            self.outcomes[name] = await VERBS[verb](store, new) or True
        except (Unavailable, AuthenticationFailed, Refused) as error:
            self.outcomes[name] = error

    def done(self, name: str) -> bool:
        return name in self.outcomes and not isinstance(self.outcomes[name], AerogrammeError)

    async def keyring(self, secret: Secret) -> Keyring | None:
        try:
            return (await keys.unlock(self.store, ID, secret)).keyring
        except AuthenticationFailed:
            return None

    async def use(self) -> None:
        """Whoever can log in now does, and mail comes."""
        opening = [await self.keyring(each) for each in self.secrets()]
        assert any(opening), "nobody can log in"
        self.sealed += [keyring.seal("entry", "x", b"mail") for keyring in opening if keyring]

    def secrets(self) -> list[Secret]:
        codes = [self.phone, self.recovery, *(each for each in self.outcomes.values())]
        return [
            *(OLD, FIRST, SECOND, INVITATION.secret),
            *(code.secret for code in codes if isinstance(code, Code)),
        ]

    async def check(self) -> None:
        """Passwords that open the account open all that was sealed, and letters too."""
        main = [await self.keyring(each) for each in (OLD, FIRST, SECOND, INVITATION.secret)]
        assert any(main), "no password is left"
        for keyring in [await self.keyring(each) for each in self.secrets()]:
            if keyring is not None:
                assert all(keyring.open("entry", "x", each) == b"mail" for each in self.sealed)
                known = {f"public-{each.number:08x}" for each in keyring.generations}
                assert (await keys.StoredKeys.read(self.store)).public.keys() <= known


@pytest.mark.parametrize(
    ("serial", "dies"), [(True, False), (False, False), (False, True)], ids=["serial", "not serial", "late"]
)
@pytest.mark.parametrize(("slow", "fast"), PAIRS)
async def test_no_change_is_lost_nor_any_key(
    slow: str, fast: str, serial: bool, dies: bool, monkeypatch
) -> None:
    monkeypatch.setattr(changing, "APART", 0.0)  # a virtual clock spins while passwords are stretched
    for call in range(1, CALLS):
        reached = False
        for steps in range(2 if serial else 3):
            still = Still(call, steps, dies=dies)
            played = await Played.begin(serial, invited=slow == "accept")
            reached = await play(played, slow, fast, still) or reached
            await check(played, slow, fast, dies=dies)
        if not reached:
            return
    raise AssertionError("the change never finished")


async def play(played: Played, slow: str, fast: str, still: Still) -> bool:
    """Whether the slow one stood still, as it makes that many calls."""
    behind = await played.stores.another(still).open(ID)  # type: ignore[arg-type]  # faults of our own
    over = trio.Event()

    async def be_slow() -> None:
        with suppress(Crash):
            await played.run("slow", slow, behind, FIRST)
        over.set()
        still.stands.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(be_slow)
        await still.stands.wait()
        await played.use()
        await played.run("fast", fast, played.store, SECOND)
        await played.use()
        still.go_on.set()
        await over.wait()
        if still.dies:
            still.late()
    await played.use()
    return still.reached


async def check(played: Played, slow: str, fast: str, *, dies: bool) -> None:
    await played.check()
    last = "slow" if played.done("slow") and not dies else "fast"
    for name, verb, new in (("slow", slow, FIRST), ("fast", fast, SECOND)):
        if not played.done(name):
            continue
        outcome, alone = played.outcomes[name], slow != fast or name == last
        if verb in ("passwd", "accept") and alone:
            assert await played.keyring(new), f"{name}: the new password does not open it"
        if isinstance(outcome, Code) and (alone or verb == "app"):
            assert await played.keyring(outcome.secret), f"{name}: the new code does not open it"
        if verb == "passwd":
            assert not await played.keyring(OLD)
        if verb == "accept":
            assert not await played.keyring(INVITATION.secret)
        if verb == "revoke":
            assert played.phone and not await played.keyring(played.phone.secret)
        if verb == "rotate" and isinstance(outcome, Keyring):
            keyring = await played.keyring(OLD) or await played.keyring(FIRST)
            keyring = keyring or await played.keyring(SECOND)
            assert keyring and outcome.current in [each.number for each in keyring.generations]
