"""Postfix's virtual alias maps: what becomes an alias here, and what stays with Postfix."""

from hypothesis import given
from hypothesis import strategies as st

from aerogramme.migrate.users.aliases import read_aliases

USERS = {"alice@example.org", "bob@example.org"}


def user_of(address: str) -> str | None:
    return address.lower() if address.lower() in USERS else None


def found(*lines: str, domain: str = "") -> tuple[dict[str, list[str]], list[int]]:
    """User -> aliases, and the lines that stay with Postfix; a catch-all has an @ in front."""
    names, faults = read_aliases("\n".join(lines), user_of, domain=domain)
    return (
        {user: [*each.aliases, *(f"@{name}" for name in each.catch_all)] for user, each in names.items()},
        [fault.line for fault in faults],
    )


def test_what_leads_to_one_user_becomes_an_alias() -> None:
    assert found(
        "# comment",
        "al@example.org alice@example.org",
        "a@example.org\tal@example.org\r",
        "  # another comment",
        "@example.net  Alice@Example.ORG",
        "long@example.org",
        "   bob@example.org",
        "alice@example.org alice@example.org",
        "",
    ) == (
        {
            "alice@example.org": ["al@example.org", "a@example.org", "@example.net"],
            "bob@example.org": ["long@example.org"],
        },
        [],
    )


def test_what_leads_elsewhere_stays_with_postfix() -> None:
    assert found(
        "both@example.org alice@example.org, bob@example.org",
        "team@example.org both@example.org",
        "out@example.org someone@elsewhere.example",
        "loop@example.org loop2@example.org",
        "loop2@example.org loop@example.org",
        "nowhere@example.org",
        "nodomain bob@example.org",
        "@all.example @example.org",
        "self@example.org self@example.org",
        "example.org anything",
        "@\x00 bob@example.org",
    ) == ({}, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])


def test_the_first_of_two_lines_of_a_name_counts() -> None:
    lines = ("al@example.org alice@example.org", "AL@example.org bob@example.org")
    assert found(*lines) == ({"alice@example.org": ["al@example.org"]}, [2])


def test_an_address_that_is_rewritten_to_another_user() -> None:
    """Bob has a mailbox, and Postfix has let nothing come to it."""
    lines = ("bob@example.org alice@example.org", "b@example.org bob@example.org")
    assert found(*lines) == ({"alice@example.org": ["b@example.org"]}, [1])


def test_names_without_a_domain_get_one() -> None:
    assert found("root alice", domain="example.org") == ({"alice@example.org": ["root@example.org"]}, [])


@given(st.text(alphabet="ab@., \n#\t", max_size=80))
def test_any_text_is_a_map(text: str) -> None:
    names, faults = read_aliases(text, lambda address: address if address.startswith("a") else None)
    assert all(user.startswith("a") for user in names)
    assert all(1 <= fault.line <= text.count("\n") + 1 for fault in faults)
