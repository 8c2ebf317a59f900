"""The users file: strict, read again when it changes, changed without harm to what a person wrote in it."""

import logging
import os
import threading
from dataclasses import replace

import pytest

from aerogramme.errors import AlreadyExists, BadConfiguration, NoSuchUser, Refused
from aerogramme.users import static
from aerogramme.users.directory import Recipient, User
from aerogramme.users.static import StaticDirectory, parse

ALICE = User("alice@example.org", "a" * 32, ("al@example.org",), ("example.net",), detail=False)
BOB = User("bob@example.org", "b" * 32)

TEXT = """\
# The people of example.org

[[user]]
address = "alice@example.org"   # the boss
account = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
aliases = ["al@example.org"]
catch_all = ["example.net"]
detail = false

[[user]]
address = "bob@example.org"
account = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "users.toml"


def test_no_file_no_users(path):
    directory = StaticDirectory(path)
    assert list(directory.users()) == []
    with pytest.raises(NoSuchUser):
        directory.change(ALICE.address, lambda user: user)
    with pytest.raises(NoSuchUser):
        directory.remove(ALICE)
    assert not path.exists()


def test_what_is_in_a_file(path):
    path.write_text(TEXT)
    directory = StaticDirectory(path)
    assert list(directory.users()) == [ALICE, BOB]
    assert directory.by_address("x@example.net") == Recipient(ALICE)
    assert directory.by_login("Bob@example.org") == BOB


def test_add_update_remove_read_back(path):
    directory = StaticDirectory(path)
    directory.add(ALICE)
    directory.add(BOB)
    assert list(StaticDirectory(path).users()) == list(directory.users()) == [ALICE, BOB]
    changed = User("alice@example.org", "a" * 32, ("boss@example.org",), detail=True)
    assert directory.change("Alice@example.org", lambda user: changed if user == ALICE else user) == changed
    assert list(StaticDirectory(path).users()) == [changed, BOB]
    directory.remove(replace(ALICE, address="ALICE@example.org"))
    assert list(StaticDirectory(path).users()) == list(directory.users()) == [BOB]
    directory.remove(BOB)
    assert list(StaticDirectory(path).users()) == []
    directory.add(BOB)
    assert list(StaticDirectory(path).users()) == [BOB]


@pytest.mark.parametrize(
    "before",
    [
        "",
        "# nobody yet",
        "user = []\n",
        f'user = [{{ address = "carol@example.org", account = "{"c" * 32}" }}] # one line',
        f'[[user]]\naddress = "carol@example.org"\naccount = "{"c" * 32}"',
        f'[[user]]\naddress = "carol@example.org"\naccount = "{"c" * 32}"\n\n\n# the end\n',
    ],
)
def test_many_are_added_at_once_or_none(path, before):
    path.write_text(before)
    directory = StaticDirectory(path)
    there = list(directory.users())
    directory.add(ALICE, BOB)
    assert list(StaticDirectory(path).users()) == [*there, ALICE, BOB]
    assert "#" not in before or before[before.index("#") :].strip() in path.read_text()
    text = path.read_text()
    new = User("dave@example.org", "d" * 32)
    for wrong in (
        (new, BOB),
        (new, replace(new, account="e" * 32)),
        (new, User("erin@example.org", "d" * 32)),
        (new, User("AL@example.org", "e" * 32)),
    ):
        with pytest.raises((AlreadyExists, BadConfiguration)):
            directory.add(*wrong)
        assert path.read_text() == text
    directory.add()
    assert list(directory.users()) == [*there, ALICE, BOB]


def test_many_are_changed_at_once_or_none(path):
    path.write_text(TEXT)
    directory = StaticDirectory(path)

    def taller(user):
        return replace(user, quota=1000)

    assert directory.change_all({"BOB@example.org": taller, ALICE.address: taller}) == [
        replace(BOB, quota=1000),
        replace(ALICE, quota=1000),
    ]
    text = path.read_text()
    assert "# the boss" in text
    with pytest.raises(NoSuchUser):
        directory.change_all({BOB.address: lambda user: BOB, "x@example.org": taller})
    assert path.read_text() == text


def test_a_persons_hand_survives(path):
    path.write_text(TEXT)
    directory = StaticDirectory(path)
    directory.add(User("eve@example.org", "e" * 32))
    directory.change(BOB.address, lambda bob: replace(bob, detail=False, end_to_end=True))
    text = path.read_text()
    assert text.startswith(TEXT[: TEXT.index("bbbb")])
    assert "# the boss" in text
    directory.remove(User("eve@example.org", "e" * 32))
    directory.change(BOB.address, lambda _: BOB)
    assert path.read_text().strip() == TEXT.strip()


def refuse(user):
    raise Refused(f"no change of {user.address}")


def test_refusals_change_nothing(path):
    path.write_text(TEXT)
    directory = StaticDirectory(path)
    with pytest.raises(AlreadyExists, match=r"AL@example\.org"):
        directory.add(User("new@example.org", "c" * 32, ("AL@example.org",)))
    with pytest.raises(AlreadyExists, match="account"):
        directory.add(User("new@example.org", "b" * 32))
    with pytest.raises(NoSuchUser, match="nobody"):
        directory.change("nobody@example.org", lambda user: user)
    with pytest.raises(NoSuchUser, match=r"al@example\.org"):
        directory.remove(replace(ALICE, address="al@example.org"))
    with pytest.raises(NoSuchUser, match="another account by now"):
        directory.remove(replace(ALICE, account="d" * 32))
    with pytest.raises(NoSuchUser):
        directory.remove(replace(ALICE, address="a@\u2028"))
    with pytest.raises(BadConfiguration, match="not an address"):
        directory.add(User("not an address", "c" * 32))
    with pytest.raises(BadConfiguration, match="two users"):
        directory.change(BOB.address, lambda bob: replace(bob, aliases=("al@example.org",)))
    with pytest.raises(Refused, match="no"):
        directory.change(BOB.address, refuse)
    assert path.read_text() == TEXT
    assert list(directory.users()) == [ALICE, BOB]


def test_all_fields_read_back(path):
    full = User(
        "eve@example.org",
        "e" * 32,
        ("e@example.org",),
        ("example.com",),
        detail=False,
        pins=("1" * 32, "2" * 32),
        end_to_end=True,
        quota=5 << 30,
        retention=30 * 86400,
        deleted=1764072000,
        erasing=True,
    )
    StaticDirectory(path).add(full)
    assert "deleted = 2025-11-25T12:00:00Z\n" in path.read_text()
    assert list(StaticDirectory(path).users()) == [full]
    directory = StaticDirectory(path)
    with pytest.raises(AlreadyExists, match=r"e@example\.org"):
        directory.add(User("e@example.org", "d" * 32))
    assert directory.owner("E@example.org") == full
    assert directory.by_login("e@example.org") is None


def test_a_quota_is_spelled_as_it_was_until_it_changes(path):
    path.write_text(TEXT + 'quota = "5 GiB"  # as agreed\nretention = 14\n')
    directory = StaticDirectory(path)
    changed = directory.change(BOB.address, lambda bob: replace(bob, detail=False))
    assert (changed.quota, changed.retention) == (5 << 30, 14 * 86400)
    assert 'quota = "5 GiB"  # as agreed\nretention = 14\n' in path.read_text()
    directory.change(BOB.address, lambda bob: replace(bob, quota=0, retention=None))
    assert 'quota = "none"' in path.read_text()
    assert "retention" not in path.read_text()
    assert directory.by_account("b" * 32).quota == 0
    assert directory.by_account("e" * 32) is None


def test_changes_at_once_lose_nothing(path):
    StaticDirectory(path).add(BOB)

    def pin(number: int) -> None:
        def change(user: User) -> User:
            return replace(user, pins=(*user.pins, f"{number:032x}"))

        StaticDirectory(path).change(BOB.address, change)

    threads = [threading.Thread(target=pin, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [bob] = StaticDirectory(path).users()
    assert sorted(bob.pins) == [f"{number:032x}" for number in range(8)]


def test_a_change_from_outside_is_seen(path):
    directory = StaticDirectory(path)
    StaticDirectory(path).add(BOB)
    assert directory.by_address("bob@example.org") == Recipient(BOB)
    path.write_text(TEXT)
    assert directory.by_address("alice@example.org") == Recipient(ALICE)


def test_a_wrong_file_is_refused_at_the_start_and_reported_later(path, caplog):
    path.write_text(TEXT)
    directory = StaticDirectory(path)
    path.write_text("[[user]]\n")
    with pytest.raises(BadConfiguration, match=r"users\.toml: a \[\[user\]\] without an address"):
        StaticDirectory(path)
    with caplog.at_level(logging.ERROR):
        assert directory.by_login("bob@example.org") == BOB
        assert directory.by_login("bob@example.org") == BOB
        os.unlink(path)
        assert directory.by_login("bob@example.org") == BOB
    assert len(caplog.records) == 2, "once for each state of the file, not for each look at it"
    path.write_text(TEXT)
    assert list(directory.users()) == [ALICE, BOB]


def test_a_file_that_cannot_be_reached_later_is_reported_once_and_found_again(tmp_path, caplog):
    folder, aside = tmp_path / "data", tmp_path / "aside"
    folder.mkdir()
    (folder / "users.toml").write_text(TEXT)
    directory = StaticDirectory(folder / "users.toml")
    folder.rename(aside)
    folder.write_text("no folder: what looks into it gets an error")
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert list(directory.users()) == [ALICE, BOB]
    assert len(caplog.records) == 1 and "Not a directory" in caplog.text
    with pytest.raises(BadConfiguration, match="Not a directory"):
        StaticDirectory(folder / "users.toml")
    folder.unlink()
    aside.rename(folder)
    directory.remove(BOB)
    assert list(directory.users()) == [ALICE]


def test_who_edits_the_file_just_after_a_command_is_heard(path, monkeypatch):
    directory = StaticDirectory(path)
    replace_file = static._replace

    def and_then_somebody_edits(target, data):
        replace_file(target, data)
        path.write_text(TEXT)

    monkeypatch.setattr(static, "_replace", and_then_somebody_edits)
    directory.add(User("eve@example.org", "e" * 32))
    assert list(directory.users()) == [ALICE, BOB]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("user = 1", r"\[\[user\]\] with two brackets"),
        ("[user]\naddress = 'a@b'", r"\[\[user\]\] with two brackets"),
        ("users = []", "unknown entry users"),
        ("[[user]]\naddress = 1", "without an address"),
        ("[[user]]\naddress = 'a'", "not an address: 'a'"),
        ("[[user]]\naddress = '@b'", "not an address"),
        ("[[user]]\naddress = 'a@'", "not a domain"),
        ("[[user]]\naddress = 'a@b c'", "not a domain"),
        ('[[user]]\naddress = "a\\n@b"', "not an address"),
        (f"[[user]]\naddress = '{'a' * 253}@b'", "not an address"),
        ("[[user]]\naddress = 'a@b'", "a@b: account is 32 hex"),
        ("[[user]]\naddress = 'a@b'\naccount = 'A'", "a@b: account is 32 hex"),
        (f"[[user]]\naddress = 'a@b'\naccount = '{'A' * 32}'", "a@b: account is 32 hex"),
        (f"[[user]]\naddress = 'a@b'\naccount = '{'a' * 32}'\nalias = []", "a@b: unknown setting alias"),
        (f"[[user]]\naddress = 'a@b'\naccount = '{'a' * 32}'\naliases = 'c@d'", "aliases is a list"),
        (f"[[user]]\naddress = 'a@b'\naccount = '{'a' * 32}'\naliases = ['c']", "not an address: 'c'"),
        (f"[[user]]\naddress = 'a@b'\naccount = '{'a' * 32}'\ncatch_all = ['@c']", "not a domain: '@c'"),
        (f"[[user]]\naddress = 'a@b'\naccount = '{'a' * 32}'\ndetail = 1", "detail is true or false"),
        (f"[[user]]\naddress = 'a@b'\naccount = '{'a' * 32}'\npins = 'b'", "pins is a list"),
        (f"[[user]]\naddress = 'a@b'\naccount = '{'a' * 32}'\npins = ['{'B' * 32}']", "a pin is 32 hex"),
        (f"[[user]]\naddress = 'a@b'\naccount = '{'a' * 32}'\nend_to_end = 1", "end_to_end is true or false"),
        (f"[[user]]\naddress = 'a@b'\naccount = '{'a' * 32}'\nquota = 0", "a@b: a quota is a size"),
        (f"[[user]]\naddress = 'a@b'\naccount = '{'a' * 32}'\nretention = '1m'", "a@b: a retention is from"),
        (f"[[user]]\naddress = 'a@b'\naccount = '{'a' * 32}'\nretention = '1y'", "a@b: not a duration"),
        (f"[[user]]\naddress = 'a@b'\naccount = '{'a' * 32}'\ndeleted = true", "deleted is a time such as"),
        (f"[[user]]\naddress = 'a@b'\naccount = '{'a' * 32}'\ndeleted = 2026-11-25", "deleted is a time"),
        (
            f"[[user]]\naddress = 'a@b'\naccount = '{'a' * 32}'\ndeleted = 2026-11-25T12:00:00",
            "deleted is a time such as 2026-11-25T12:00:00Z",
        ),
        (f"[[user]]\naddress = 'a@b'\naccount = '{'a' * 32}'\nerasing = true", "erasing goes with deleted"),
    ],
)
def test_what_is_wrong_is_named(text, what):
    with pytest.raises(ValueError, match=what):
        parse(text)


def test_only_the_owner_may_read_it_and_a_chosen_mode_stays(path):
    directory = StaticDirectory(path)
    directory.add(BOB)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    directory.change(BOB.address, lambda bob: replace(bob, detail=False))
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_link_stays_a_link(path, tmp_path):
    target = tmp_path / "elsewhere.toml"
    target.write_text(TEXT)
    path.symlink_to(target)
    StaticDirectory(path).remove(BOB)
    assert path.is_symlink()
    assert list(StaticDirectory(target).users()) == [ALICE]


def test_many_writers_lose_nothing(path):
    def add(first: int) -> None:
        for number in range(first, first + 5):
            StaticDirectory(path).add(User(f"u{number}@example.org", f"{number:032x}"))

    threads = [threading.Thread(target=add, args=(first,)) for first in range(0, 20, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {user.account for user in StaticDirectory(path).users()} == {f"{n:032x}" for n in range(20)}
