"""What mailboxes of other mail stores are called here, and which of them have a special use."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aerogramme.errors import Refused
from aerogramme.imap import mutf7
from aerogramme.mailbox.names import MAX_DEPTH, MAX_PART, check
from aerogramme.migrate.sources.naming import Naming, shown
from aerogramme.migrate.sources.special_use import chosen, roles_of


@pytest.mark.parametrize(
    ("naming", "spelled", "name"),
    [
        (Naming(), b"INBOX", "INBOX"),
        (Naming(), b"inbox", "INBOX"),
        (Naming(), b"inbox/Work", "INBOX/Work"),
        (Naming("."), b"Lists.trio.2024", "Lists/trio/2024"),
        (Naming("."), b"Entw&APw-rfe", "Entwürfe"),
        (Naming("."), b"R&-D", "R&D"),
        (Naming(".", utf8=True), "Entwürfe.R&D".encode(), "Entwürfe/R&D"),
        (Naming(".", utf8=True), "Entwu\u0308rfe".encode(), "Entwürfe"),
        (Naming(""), b"a.b", "a.b"),
        (Naming(mixed=True), "Entwürfe/R&D/&APw-".encode(), "Entwürfe/R&D/ü"),
        (Naming(".", prefix="INBOX."), b"INBOX.Sent", "Sent"),
        (Naming(".", prefix="INBOX"), b"Inbox.Sent", "Sent"),
        (Naming(".", prefix="INBOX."), b"INBOX", "INBOX"),
        (Naming(".", prefix="Mail."), b"mail.Sent", "mail/Sent"),
        (Naming(".", prefix="Mail."), b"Mail", "Mail"),
        (Naming(".", under="Old/2019"), b"INBOX", "Old/2019/INBOX"),
        (Naming(".", under="Old"), b"a.b", "Old/a/b"),
        (Naming(".", escape="\\"), b"a\\2eb.\\5cc", "a.b/\\c"),
        (Naming(".", escape="\\"), b"a\\zz", "a\\zz"),
    ],
)
def test_a_name_becomes(naming, spelled, name) -> None:
    assert naming.name(spelled) == (name, "")


@pytest.mark.parametrize(
    ("naming", "spelled", "name", "wrong"),
    [
        (Naming(), b"Entw\xfcrfe", "Entwürfe", "UTF-8"),
        (Naming(), "Entwürfe".encode(), "Entwürfe", "UTF-7"),
        (Naming(), b"R&D", "R&D", "UTF-7"),
        (Naming(), b"&2AA-", "&2AA-", "UTF-7"),  # half a surrogate pair
        (Naming("."), b"a/b", "a_b", "separates"),
        (Naming("."), b"a&AC8-b", "a_b", "separates"),
        (Naming(), b"a//b/", "a/b", "empty level"),
        (Naming(), b"a/../b", "a/__/b", "or .."),
        (Naming(escape="\\"), b"a\\0ab", "a_b", "control"),
        (Naming(), b"a\x00b\r", "a_b_", "control"),
    ],
)
def test_a_name_that_is_none_here_becomes(naming, spelled, name, wrong) -> None:
    found, what = naming.name(spelled)
    assert found == name
    assert wrong in what


@given(
    st.sampled_from([Naming(), Naming("."), Naming("", utf8=True), Naming(".", "a", "Old", escape="\\")]),
    st.binary(max_size=30)
    | st.lists(st.sampled_from([b"ab", b".", b"/", b"&AOQ-", b"\xc3\xa4"])).map(b"".join),
    st.integers(1, 400),
)
def test_any_octets_become_a_name_that_a_mailbox_can_have(naming, spelled, times) -> None:
    name, _ = naming.name(spelled * times)
    assert check(name) == name


@given(st.lists(st.text(st.characters(exclude_characters="/", exclude_categories=["Cc", "Cs", "Zl", "Zp"]),
                        min_size=1, max_size=20), min_size=1, max_size=4))  # fmt: skip
def test_a_name_that_can_be_here_is_the_same_here(levels) -> None:
    try:
        name = check("/".join(levels))
    except Refused:
        return
    assert Naming().name(mutf7.encode(name)) == (name, "")
    assert Naming(utf8=True).name(name.encode()) == (name, "")


def test_levels_that_are_too_long_and_too_many_are_cut() -> None:
    long, what = Naming().name(b"x" * 300 + b"/b")
    assert long.startswith("x" * 200) and len(long.split("/")[0]) == MAX_PART and "too long" in what
    deep, what = Naming().name(b"/".join([b"x"] * 60))
    assert len(deep.split("/")) == MAX_DEPTH and "too many levels" in what
    assert Naming().name(b"x" * 300)[0] != Naming().name(b"x" * 301)[0]


def test_no_two_mailboxes_get_the_same_name_and_a_new_one_does_not_rename_another() -> None:
    spelled = [b"a_b", b"a/b", b"INBOX", b"inbox", b"Sent"]
    some = Naming(".").names(spelled)
    assert some.of[b"a_b"] == "a_b" and some.of[b"INBOX"] == "INBOX"
    assert some.of[b"a/b"].startswith("a_b (") and some.of[b"inbox"].startswith("INBOX (")
    assert {fault.origin for fault in some.faults} == {"a/b", "inbox"}
    assert not any(fault.lost for fault in some.faults)
    more = Naming(".").names([b"a", b"a&AC8-b", *spelled])
    assert all(more.of[one] == some.of[one] for one in spelled)
    assert len(set(more.of.values())) == len(more.of)


def test_a_name_that_is_made_up_is_not_that_of_another_mailbox() -> None:
    other = Naming(".").names([b"a_b", b"a/b"]).of[b"a/b"]
    some = Naming(".").names([b"a_b", b"a/b", other.encode()])
    assert some.of[other.encode()] == other
    assert len(set(some.of.values())) == 3


def test_names_of_a_source_are_shown_without_what_plays_with_a_terminal() -> None:
    assert shown("Entwürfe".encode()) == "Entwürfe"
    assert shown(b"a\x1b[31m\xff\n") == "a\\x1b[31m\\xff\\n"


def test_special_uses_are_given_by_name_once_each() -> None:
    names = ["INBOX", "Gesendet", "Sent Items", "papierkorb", "INBOX/Spam", "Lists/Archive", "Work"]
    assert roles_of(names, {}, {}) == {
        "Sent Items": "\\Sent",
        "papierkorb": "\\Trash",
        "INBOX/Spam": "\\Junk",
    }
    assert roles_of(names, {}, {}, guess=False) == {}


def test_special_uses_that_somebody_says_go_before_those_by_name() -> None:
    names = ["INBOX", "Gesendet", "Sent", "Trash", "Bin", "Work"]
    said = {"Gesendet": "\\Sent", "Sent": "\\Sent", "Work": "\\Archive", "Bin": "\\Nonsense"}
    assert roles_of(names, said, chosen(["Work=", "Bin=trash"])) == {"Gesendet": "\\Sent", "Bin": "\\Trash"}
    roles = Naming(".").names([b"INBOX", b"Gesendet", b"Sent"], {b"Gesendet": "\\Sent"}).roles
    assert roles == {"Gesendet": "\\Sent"}


@pytest.mark.parametrize("text", ["Sent", "=\\Sent", "Sent=Send", "a=\\"])
def test_a_special_use_that_nobody_knows_is_refused(text) -> None:
    with pytest.raises(Refused):
        chosen([text])


@pytest.mark.parametrize(
    "wrong", [{"separator": "//"}, {"separator": "ä"}, {"escape": "ab"}, {"under": "a//b"}]
)
def test_a_naming_that_makes_no_sense_is_refused(wrong) -> None:
    with pytest.raises(Refused):
        Naming(**wrong)
