"""How addresses are compared, and what an address leads to."""

import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aerogramme.users.directory import AddressBook, Recipient, User, canonical

ALICE = User("Alice@Example.org", "a" * 32, aliases=("al@example.org", "postmaster"))
BOB = User("bob@example.org", "b" * 32, catch_all=("example.net",), detail=False)
JOSE = User("josé@bücher.example", "c" * 32)
PLUS = User("c+plus@example.org", "d" * 32)
BOOK = AddressBook([ALICE, BOB, JOSE, PLUS])


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("alice@example.org", Recipient(ALICE)),
        ("ALICE@EXAMPLE.ORG", Recipient(ALICE)),
        ("AL@example.org", Recipient(ALICE)),
        ("Postmaster", Recipient(ALICE)),
        ("alice", None),
        ("postmaster@example.org", None),
        ("alice+Lists@example.org", Recipient(ALICE, "Lists")),
        ("al+a+b@example.org", Recipient(ALICE, "a+b")),
        ("alice+@example.org", Recipient(ALICE)),
        ("+x@example.org", None),
        ("bob+lists@example.org", Recipient(BOB)),
        ("c+plus@example.org", Recipient(PLUS)),
        ("c+plus+d@example.org", None),
        ("anything+at.all@EXAMPLE.net", Recipient(BOB)),
        ("example.net", None),
        ("x+example.net", None),
        ("a@sub.example.net", None),
        ("josé@bücher.example", Recipient(JOSE)),
        ("jose\u0301@bu\u0308cher.example", Recipient(JOSE)),
        ("JOSÉ@BÜCHER.EXAMPLE", Recipient(JOSE)),
        ("josé@xn--bcher-kva.example", Recipient(JOSE)),
        ("josé@XN--BCHER-KVA.example", Recipient(JOSE)),
        ("josé@bücher。example", Recipient(JOSE)),
        ("jose\u0301+cafe\u0301@bücher.example", Recipient(JOSE, "caf\u00e9")),
        ("jose@bücher.example", None),
        ("a@\u2028", None),
        ("", None),
        ("@", None),
        ("@example.org", None),
    ],
)
def test_by_address(address, found):
    assert BOOK.by_address(address) == found


def test_login_is_by_address_or_alias_alone():
    assert BOOK.by_login("aLice@example.ORG") is ALICE
    assert BOOK.by_login("al@example.org") is ALICE
    assert BOOK.by_login("alice+x@example.org") is None
    assert BOOK.by_login("whoever@example.net") is None
    assert BOOK.by_login("a@\u2028") is None


def test_a_domain_for_names_that_have_none():
    users = [
        User("alice@example.org", "a" * 32, ("al@example.org", "postmaster")),
        User("bob@b.org", "b" * 32),
    ]
    book = AddressBook(users, login_domain="EXAMPLE.org")
    assert book.by_login("Alice") is book.by_login("al") is book.by_login("postmaster") is users[0]
    assert book.by_login("bob") is book.by_login("alice@") is book.by_login("") is None
    assert book.by_address("alice") is None
    assert AddressBook(users).by_login("alice") is None


def test_the_separator_is_a_choice():
    assert AddressBook([ALICE], "-").by_address("alice-x@example.org") == Recipient(ALICE, "x")
    assert AddressBook([ALICE], "").by_address("alice+x@example.org") is None


@pytest.mark.parametrize(
    ("second", "what"),
    [
        (User("ALICE@example.org", "e" * 32), "address ALICE@example.org"),
        (User("x@example.org", "e" * 32, aliases=("AL@example.org",)), "address AL@example.org"),
        (User("x@example.org", "a" * 32), "account a"),
    ],
)
def test_nothing_belongs_to_two_users(second, what):
    with pytest.raises(ValueError, match=what):
        AddressBook([ALICE, second])
    with pytest.raises(ValueError, match=r"catch all of Example\.NET"):
        AddressBook([BOB, User("x@example.org", "e" * 32, catch_all=("Example.NET",))])


def test_an_alias_may_repeat_the_address():
    user = User("a@b.example", "a" * 32, aliases=("A@b.example",))
    assert AddressBook([user]).by_address("a@B.example") == Recipient(user)


@given(st.text(max_size=20), st.sampled_from(["example.org", "bücher.example"]))
def test_canonical_forgets_case_and_composition(local, domain):
    form = canonical(f"{local}@{domain}")
    assert canonical(form) == form
    decomposed = unicodedata.normalize("NFD", local)
    assert canonical(f"{decomposed}@{unicodedata.normalize('NFD', domain.upper())}") == form


@given(st.text(max_size=40))
def test_any_text_is_looked_up_without_an_error(text):
    found = BOOK.by_address(text)
    assert found is None or found.user in BOOK.users
    assert BOOK.by_login(text) in (None, *BOOK.users)


@pytest.mark.parametrize(
    "name",
    [
        "\u0301\u0323" * 500_000 + "@example.org",
        "a@" + "\u0301\u0323" * 500_000,
        "a@" + "é." * 500_000 + "org",
        "a@" + "é\u3002" * 500_000 + "org",
    ],
    ids=["local", "domain", "labels", "other dots"],
)
def test_a_hostile_name_costs_nothing(name):
    # Whoever connects can send it before any login. Work that is not bounded would take an hour here.
    assert BOOK.by_login(name) is None
    assert BOOK.by_address(name) is None


@pytest.mark.parametrize("domain", ["é." * 30 + "example", ".".join(["é" * 50] * 3)])
def test_long_domains_are_compared_all_the_same(domain):
    assert canonical(f"a@{domain}") == canonical(f"a@{domain.upper()}")


def test_a_deleted_user_is_nobody_and_yet_keeps_the_addresses():
    gone = replace(ALICE, deleted=1, catch_all=("example.com",))
    book = AddressBook([gone, replace(BOB, catch_all=("example.org",))])
    for address in (
        "alice@example.org",
        "al@example.org",
        "alice+x@example.org",
        "x@example.com",
        "postmaster",
    ):
        assert book.by_address(address) is None
    assert book.by_address("x@example.org").user.address == BOB.address
    assert book.by_login("alice@example.org") is None
    assert book.owner("AL@example.org") is gone
    assert book.owner("a@\u2028") is None
    assert [user.address for user in book.users] == [gone.address, BOB.address]
    with pytest.raises(ValueError, match="two users have the address"):
        AddressBook([gone, User("al@example.org", "e" * 32)])
