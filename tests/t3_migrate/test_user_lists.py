"""Lists of users: as Dovecot, a spreadsheet and `doveadm user` have them, and what is wrong with lines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aerogramme.errors import Unreadable
from aerogramme.migrate.users.lists import Entry, Fault, Form, read_list

FORMS: tuple[Form | None, ...] = (None, "passwd", "csv", "names")
HASH = "{SHA}B/PcQHeAKywePq/ztWiCWf9lImE="


def shown(text: str, form: Form | None = None, **how: str) -> list[tuple[object, ...]]:
    """(line, address, the setting of the password or why there is none, aliases, quota); faults between."""
    listed = read_list(text, form, **how)

    def one(each: Entry | Fault) -> tuple[object, ...]:
        if isinstance(each, Fault):
            return (each.line, each.what)
        login = each.hashed.setting.text if each.hashed else each.why
        return (each.line, each.address, login, each.aliases, each.quota)

    return sorted((one(each) for each in (*listed.entries, *listed.faults)), key=lambda item: item[0])


def test_a_passwd_file() -> None:
    text = "\n".join(
        [
            "# users",
            "",
            f"alice@example.org:{HASH}:1000:1000::/home/alice::userdb_quota_rule=*:storage=2G proxy=n",
            "bob@example.org:{PLAIN}secret",
            "carol@example.org",
            "dave@example.org::1000:1000:Dave,,,:/home/dave:/bin/false",
            f"erin@example.org:{HASH}:1:1::/e::nologin=y",
            f"frank@example.org:{HASH}:1:1::/f::nopassword",
            ":{PLAIN}nobody",
            "grace@example.org:abZKnLUO6M512[13]\r",
            "heidi@example.org:504d29647770fc46e054b810d4725657[34]",
            "ivan@example.org:{CRAM-MD5}a440c549",
            f"alice@EXAMPLE.org:{HASH}",
            f"nodomain:{HASH}",
            f"judy@example.org:{HASH}::::::nologin=n userdb_mail=maildir:~/Maildir:LAYOUT=fs",
            "",
        ]
    )
    assert shown(text) == [
        (3, "alice@example.org", "sha1", (), 2 << 30),
        (4, "bob@example.org", "plain", (), None),
        (5, "carol@example.org", "the list has no password", (), None),
        (6, "dave@example.org", "the list has no password", (), None),
        (7, "erin@example.org", "nobody may log in as this user (nologin)", (), None),
        (8, "frank@example.org", "any password is right there (nopassword)", (), None),
        (10, "grace@example.org", "crypt:ab", (), None),
        (11, "heidi@example.org", "md5", (), None),
        (12, "ivan@example.org", "passwords cannot be checked here that are kept as CRAM-MD5", (), None),
        (13, "alice@EXAMPLE.org stands in line 3 already, and that one counts"),
        (14, "'nodomain' has no domain: say which, with --domain"),
        (15, "judy@example.org", "sha1", (), None),
    ]


@pytest.mark.parametrize(
    ("extra", "octets"),
    [
        ("userdb_quota_rule=*:storage=1024", 1 << 20),  # kilobytes, where no unit stands
        ("userdb_quota_rule=*:bytes=1024", 1024),
        ("userdb_quota_rule=*:messages=9:storage=5M", 5 << 20),
        ("userdb_quota_rule=*:storage=0", 0),
        ("userdb_quota_rule=Trash:storage=+10%", None),
        ("userdb_quota_rule=*:storage=10%", None),
        ("userdb_quota_storage_size=3G", 3 << 30),
        ("userdb_quota_storage_size=1GiB", 1 << 30),
        ("userdb_mail=mbox:~/mail", None),
    ],
)
def test_quotas_of_dovecot(extra: str, octets: int | None) -> None:
    assert read_list(f"a@b.c:x:::::: {extra}").entries[0].quota == octets


def test_names_without_a_domain_get_one() -> None:
    assert shown(f"alice:{HASH}\nbob@b.org:x", domain="a.org", scheme="PLAIN") == [
        (1, "alice@a.org", "sha1", (), None),
        (2, "bob@b.org", "plain", (), None),
    ]


def test_csv() -> None:
    text = (
        "\ufeffPassword, Address,quota,aliases\n"
        f'"{HASH}",alice@example.org,5G,al@example.org a@example.org\n'
        '"{PLAIN}a,b"",c",bob@example.org,none,\n'
        ",carol@example.org\n"
        "x,dave@example.org,many,\n"
        'x,"erin@example.org\n'
        "x,frank@example.org,1,,,\n"
        "# a remark\n"
        "x,grace@example.org,1000,nowhere\n"
    )
    assert shown(text) == [
        (2, "alice@example.org", "sha1", ("al@example.org", "a@example.org"), 5 << 30),
        (3, "bob@example.org", "plain", (), 0),
        (4, "carol@example.org", "the list has no password", (), None),
        (5, 'a quota is a size such as "5G", or "none"; not \'many\''),
        (6, "this is no line of CSV"),
        (7, "there are more fields than columns (password, address, quota, aliases)"),
        (9, "'nowhere' has no domain: say which, with --domain"),
    ]
    assert read_list(text).entries[1].hashed.digest == b'a,b",c'  # type: ignore[union-attr]
    assert shown(f"alice@example.org,{HASH}\nbob@example.org\n") == [
        (1, "alice@example.org", "sha1", (), None),
        (2, "bob@example.org", "the list has no password", (), None),
    ]
    with pytest.raises(Unreadable, match="'home'"):
        read_list("address,home\n")


def test_names() -> None:
    assert shown("alice@example.org\n\n bob@example.org \n# x\n@\n") == [
        (1, "alice@example.org", "the list has no password", (), None),
        (3, "bob@example.org", "the list has no password", (), None),
        (5, "not an address: '@'"),
    ]
    assert shown("") == []
    assert shown("alice@example.org\nbob@example.org:{PLAIN}x") == [
        (1, "alice@example.org", "the list has no password", (), None),
        (2, "bob@example.org", "plain", (), None),
    ], "one line with a password, and it is a passwd-file"


def test_nothing_of_a_password_is_shown() -> None:
    listed = read_list("alice@example.org:{PLAIN}hunter2\nbob@example.org:{SHA}hunter2\ncarol:hunter2:1")
    assert "hunter2" not in repr(listed)
    for text in ("alice@example.org:{PLAIN}hunter2", "{PLAIN}hunter2,alice@example.org", "$1$hunter2"):
        for form in FORMS:
            listed = read_list(text, form, domain="example.org")
            assert "hunter2" not in repr(listed), (text, form)
            assert not any("hunter2" in each.address for each in listed.entries)


@given(st.text(max_size=200), st.sampled_from(FORMS))
def test_any_text_is_a_list_or_refused(text: str, form: Form | None) -> None:
    try:
        listed = read_list(text, form, domain="example.org")
    except Unreadable:
        return
    count = text.count("\n") + 1
    assert all(1 <= each.line <= count for each in (*listed.entries, *listed.faults))
    assert len({each.address for each in listed.entries}) == len(listed.entries)
