"""Paths: the grammar of RFC 5321 §4.1.2 with RFC 6531, and what is taken beyond it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aerogramme.lmtp.address import Mailbox, take_path


@pytest.mark.parametrize(
    ("text", "local", "domain", "shown"),
    [
        ("<a@b.example>", "a", "b.example", "a@b.example"),
        ("<a.b+c@B.example>", "a.b+c", "B.example", "a.b+c@B.example"),
        ("<!#$%&'*+-/=?^_`{|}~@b>", "!#$%&'*+-/=?^_`{|}~", "b", "!#$%&'*+-/=?^_`{|}~@b"),
        ('<"a b"@c>', "a b", "c", '"a b"@c'),
        ('<"a\\"b\\\\"@c>', 'a"b\\', "c", '"a\\"b\\\\"@c'),
        ('<"a>b@c"@d>', "a>b@c", "d", '"a>b@c"@d'),
        ('<"plain"@d>', "plain", "d", "plain@d"),
        ('<""@d>', "", "d", '""@d'),
        ("<a..b.@c>", "a..b.", "c", '"a..b."@c'),
        ("<a@[127.0.0.1]>", "a", "[127.0.0.1]", "a@[127.0.0.1]"),
        ("<a@[IPv6:::1]>", "a", "[IPv6:::1]", "a@[IPv6:::1]"),
        ("<a@[ipv6:2001:db8::1]>", "a", "[ipv6:2001:db8::1]", "a@[ipv6:2001:db8::1]"),
        ("<@x.example,@y.example:a@b>", "a", "b", "a@b"),
        ("<Postmaster>", "Postmaster", "", "Postmaster"),
        ("<josé@bücher.example>", "josé", "bücher.example", "josé@bücher.example"),
        ("<user_1@my_host>", "user_1", "my_host", "user_1@my_host"),
    ],
)
def test_paths(text, local, domain, shown):
    taken = take_path(text + " REST")
    assert taken == (Mailbox(local, domain), " REST")
    assert str(taken[0]) == shown
    assert take_path(f"<{shown}>") == (taken[0], "")
    assert taken[0].plain == (f"{local}@{domain}" if domain else local)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<>",
        "a@b",
        "<a@b",
        "<a b@c>",
        "<a@b c>",
        "<@b>",
        "<a@>",
        "<a@b.>",
        "<a@.b>",
        "<a@[127.0.0.256]>",
        "<a@[::1]>",
        "<a@[IPv6:1]>",
        "<a@[tag:x]>",
        "<a@[]>",
        "<a@[IPv6:fe80::1%eth0\u00e9]>",
        '<"a\nb"@c>',
        '<"a\r\n"@c>',
        '<"a"b@c>',
        '<"a@c>',
        "<a\u0085b@c>",
        "<a\u2028b@c>",
        "<a@b\u2029>",
        "<a\0@b>",
        "<a\t@b>",
        "<x:a@b>",
    ],
)
def test_what_is_no_path(text):
    assert take_path(text) is None


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20))
def test_any_printable_local_part_survives_its_quotes(local):
    mailbox = Mailbox(local, "b.example")
    assert take_path(f"<{mailbox}>") == (mailbox, "")


@given(st.text(max_size=60))
def test_any_text_is_a_path_or_none_and_never_breaks_a_header(text):
    for candidate in (text, f"<{text}>", f"<{text}@b>", f'<"{text}"@b>'):
        if taken := take_path(candidate):
            assert len(str(taken[0]).splitlines()) == 1


def test_a_hostile_path_takes_linear_time():
    for text in (
        "<@" + "a," * 100_000,
        "<" + "a." * 100_000,
        '<"' + "\\a" * 100_000,
        "<@a" + ",@a" * 100_000,
    ):
        assert take_path(text) is None
