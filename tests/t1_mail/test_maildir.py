"""Names of files and folders: what they say, and that each says it of one thing only."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aerogramme import maildir as names
from aerogramme.errors import Refused
from aerogramme.mailbox.names import MAX_NAME, canonical, check
from aerogramme.maildir import KEYWORDS, LONGEST, MADE, PARTS, SYSTEM, Layout

LAYOUTS: tuple[Layout, ...] = ("maildir++", "fs")

# Mailbox names that somebody may have in mind, and those that nobody should.
HOSTILE = [
    *PARTS,
    *MADE,
    *("inbox", "INBOX/x", "INBOX/INBOX", "Inbox.x", "x/INBOX", "x/cur", "cur/new/tmp", "x/dovecot-uidlist"),
    *(
        ".hidden",
        "..x",
        "x.",
        ".../...",
        "a.b",
        "a.b/c.d",
        "a/b.c",
        "&",
        "&-",
        "&AC4-",
        "a&AC4-b",
        "&&",
        "-",
        ",",
    ),
    *(
        "~",
        "~root",
        "*",
        "%",
        "a b",
        " ",
        "a:2,S",
        "\\",
        "Entwürfe",
        "日本語/メール",
        "😀",
        "&😀.",
        ".é",
        "é." * 50,
    ),
    *("x" * 200, "." * 200, "&" * 200, "é" * 125, "." + "é" * 124, "日" * 83, "/".join(["a.é"] * 50)),
]


def valid(name: str) -> bool:
    try:
        return check(name) == name and name != "INBOX"
    except Refused:
        return False


levels = st.one_of(
    st.sampled_from(["cur", "INBOX", "a", "b", ".", "a.b", "&AC4-", "dovecot-uidlist"]),
    st.text(st.sampled_from("ab.&-,/éA日😀 "), min_size=1, max_size=8),
    st.text(min_size=1, max_size=6),
)
mailboxes = st.lists(levels, min_size=1, max_size=4).map("/".join).map(canonical).filter(valid)


@pytest.mark.parametrize("layout", LAYOUTS)
@given(name=mailboxes)
def test_a_folder_says_which_mailbox_it_is(layout: Layout, name: str) -> None:
    check_folder(name, layout)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_so_does_that_of_a_hostile_name(layout: Layout, name: str) -> None:
    assert valid(canonical(name)) or name == "inbox"
    if valid(canonical(name)):
        check_folder(canonical(name), layout)


def check_folder(name: str, layout: Layout) -> None:
    folders = names.levels_of(name, layout)
    for folder in folders:
        assert folder not in ("", ".", "..", *PARTS, *MADE) and "/" not in folder and "\0" not in folder
        assert len(folder.encode()) <= LONGEST
    if layout == "maildir++":
        assert len(folders) == 1 and folders[0].startswith(".")
    else:
        assert len(folders) == name.count("/") + 1
        assert not any(folder.startswith(".") for folder in folders)  # hidden: no part of a Maildir
    said = names.mailbox_of(folders, layout)
    assert said == name or (said is None and len(folders[-1].encode()) > LONGEST - 20)


@pytest.mark.parametrize("layout", LAYOUTS)
@given(one=mailboxes, other=mailboxes)
@example(one="a.b", other="a/b")
@example(one="a&AC4-b", other="a.b")
@example(one=".a", other="&AC4-a")
@example(one="é" * 200, other="é" * 201)
def test_two_mailboxes_have_two_folders(layout: Layout, one: str, other: str) -> None:
    assert (names.levels_of(one, layout) == names.levels_of(other, layout)) == (one == other)


def test_a_folder_with_too_long_a_name_has_a_short_one_that_stays() -> None:
    name = "/".join(["é" * 60] * 8)
    assert len(name.encode()) <= MAX_NAME
    [folder] = names.levels_of(name, "maildir++")
    assert len(folder) == LONGEST and folder.startswith(".&AOkA6QDp")
    assert names.levels_of(name, "maildir++") == [folder]
    assert names.levels_of(name + "x", "maildir++") != [folder]


@pytest.mark.parametrize(
    ("folders", "layout"),
    [
        (["x"], "maildir++"),
        ([".a", ".b"], "maildir++"),
        ([".&"], "maildir++"),
        ([".&AA"], "maildir++"),
        ([".é"], "maildir++"),  # modified UTF-7 is ASCII
        (["&A"], "fs"),
        (["a", "&é-"], "fs"),
    ],
)
def test_what_is_no_folder_of_a_mailbox(folders: list[str], layout: Layout) -> None:
    assert names.mailbox_of(folders, layout) is None


# --- files

keywords = st.lists(st.text("abcXYZ$-", min_size=1), unique_by=str.casefold, max_size=30)


@given(keywords, st.data())
def test_letters_say_which_flags(known: list[str], data: st.DataObject) -> None:
    shown = known[: len(KEYWORDS)]
    flags = data.draw(st.sets(st.sampled_from([*SYSTEM, *known])))
    letters = names.letters_of(flags, shown)
    assert letters == "".join(sorted(letters)) and len(set(letters)) == len(letters)  # maildir(5): in order
    assert names.flags_of(letters, shown) == {flag for flag in flags if flag in SYSTEM or flag in shown}


def test_letters_that_nobody_knows_stand_for_nothing() -> None:
    assert names.flags_of("PSXz9é", ["$Label1"]) == {"\\Seen"}


@given(
    st.integers(0, 2**32),
    st.integers(1, 2**63 - 1),
    st.integers(0, 10**9),
    st.integers(0, 10**6),
    st.integers(1, 2**32 - 1),
    st.sampled_from([":2,", ":2,S", ":2,FSab", "", ":1,x", ":"]),
)
def test_a_name_of_ours_says_its_message(
    date: int, message: int, size: int, lines: int, uid: int, info: str
) -> None:
    base = names.base_name(date, message, "0011aabb.aerogramme", size, size + lines, uid)
    assert re.fullmatch(r"\d+\.M[0-9a-f]+\.[^,]+,S=\d+,W=\d+,U=\d+", base) and f",S={size}," in base
    said = names.parse(base + info)
    assert (said.base, said.message) == (base, message)
    assert said.letters == (info[3:] if info.startswith(":2,") else "")


@given(st.text())
@example("1.M1.x,S=1,W=1,U=1")
@example("1.M11111111111111111.x,S=1,W=1,U=1:2,")
@example("\u0661.M1.x,S=1,W=1,U=1")  # a digit, but not of ASCII
def test_any_name_says_something(name: str) -> None:
    said = names.parse(name)
    assert name.startswith(said.base)
    if said.message is not None:
        assert re.match(r"[0-9]+\.M0*" + f"{said.message:x}" + r"\.[^,/:]+,S=[0-9]+,W=[0-9]+,U=[0-9]+", name)
