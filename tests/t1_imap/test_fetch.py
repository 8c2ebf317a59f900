"""FETCH responses made of columns: every item, and the cache of header fields."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aerogramme.imap.commands import Att, Section
from aerogramme.imap.fetch import Batch, HeaderCache, Plan, cut
from aerogramme.mail.digest import render
from tests.helpers.imap_grammar import responses

RAW = b"Subject: 100%% sure\r\nX-A: 1\r\n\r\nbody\r\n".replace(b"%%", b"%")
HEADER = RAW[: RAW.index(b"\r\n\r\n") + 4]


def section(label: bytes, what: str = "", *, path=(), fields=(), partial=None) -> Section:
    return Section(path, what, fields, partial, True, label)  # type: ignore[arg-type]  # what is spelled out below


def test_all_items_in_the_order_asked() -> None:
    digest = render(RAW)
    items = [
        Att.SIZE,
        Att.UID,
        section(b"BODY[TEXT]<1>", "TEXT", partial=(1, 2)),
        Att.MODSEQ,
        section(b"BODY[]"),
        Att.ENVELOPE,
        section(b"BODY[HEADER]", "HEADER"),
        Att.FLAGS,
        section(b"BODY[2]", path=(2,)),
        Att.BODYSTRUCTURE,
        Att.BODY,
        Att.INTERNALDATE,
    ]
    plan = Plan(items, HeaderCache())
    assert plan.needs_bodies and not plan.sets_seen and not plan.needs_headers
    columns = {field: [getattr(digest, field)] for field in plan.digest_fields}
    (response,) = responses(
        plan.render(Batch([7], [70], [b"(\\Seen)"], [1 << 62], [0], [len(RAW)], [1], columns, [RAW]))
    )
    assert response.number == 7
    assert list(response.data) == [
        b"RFC822.SIZE", b"UID", b"BODY[TEXT]<1>", b"MODSEQ", b"BODY[]", b"ENVELOPE", b"BODY[HEADER]",
        b"FLAGS", b"BODY[2]", b"BODYSTRUCTURE", b"BODY", b"INTERNALDATE",
    ]  # fmt: skip
    assert response.data[b"BODY[TEXT]<1>"] == b"od"
    assert response.data[b"BODY[]"] == RAW
    assert response.data[b"BODY[HEADER]"] == HEADER
    assert response.data[b"BODY[2]"] is None
    assert response.data[b"ENVELOPE"].subject == b"100% sure"
    assert response.data[b"INTERNALDATE"] == b" 1-Jan-1970 00:00:00 +0000"


def test_a_percent_sign_in_a_label_is_no_format() -> None:
    fields = section(b"BODY[HEADER.FIELDS (%d)]", "HEADER.FIELDS", fields=(b"%d",))
    plan = Plan([fields], HeaderCache())
    assert plan.missing([1]) == [1]
    plan.learn([1], [HEADER])
    assert plan.render(Batch([1], contents=[1])) == b"* 1 FETCH (BODY[HEADER.FIELDS (%d)] {2}\r\n\r\n)\r\n"


def test_a_body_that_cannot_be_read_is_nil() -> None:
    plan = Plan([section(b"BODY[]"), section(b"BODY[1]", path=(1,))], HeaderCache())
    batch = Batch([1], digests={"parts": [b"?"]}, bodies=[None])
    assert plan.render(batch) == b"* 1 FETCH (BODY[] NIL BODY[1] NIL)\r\n"


def test_header_fields_are_rendered_once() -> None:
    cache = HeaderCache()
    some = section(b"BODY[HEADER.FIELDS (X-A)]", "HEADER.FIELDS", fields=(b"x-a",))
    rest = section(b"BODY[HEADER.FIELDS.NOT (X-A)]<0>", "HEADER.FIELDS.NOT", fields=(b"x-a",), partial=(0, 7))
    plan = Plan([some, rest], cache)
    assert plan.missing([5, 6, 5]) == [5, 6]
    plan.learn([5, 6], [HEADER, b"X-A: 2\r\n\r\n"])
    batch = Batch([1, 2], contents=[5, 6])
    first, second = responses(plan.render(batch))
    assert first.data[b"BODY[HEADER.FIELDS (X-A)]"] == b"X-A: 1\r\n\r\n"
    assert first.data[b"BODY[HEADER.FIELDS.NOT (X-A)]<0>"] == b"Subject"
    assert second.data[b"BODY[HEADER.FIELDS.NOT (X-A)]<0>"] == b"\r\n"
    again = Plan([some, rest], cache)
    assert again.missing([6, 5, 7]) == [7]
    assert Plan([some], cache).missing([5]) == []


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=60), st.integers(0, 3000))
def test_a_small_cache_never_loses_what_a_plan_is_about_to_use(asked: list, budget: int) -> None:
    cache = HeaderCache(budget)
    names = [(b"x-a",), (b"subject",), (b"x-a", b"subject"), (b"none",)]
    for which, content in asked:
        items = [
            section(b"BODY[HEADER.FIELDS (%d)]" % n, "HEADER.FIELDS", fields=names[n])
            for n in {which, (which + 1) % 4}
        ]
        plan = Plan(items, cache)
        other = Plan([section(b"BODY[HEADER.FIELDS (9)]", "HEADER.FIELDS", fields=(b"date",))], cache)
        missing = plan.missing([content])
        other.learn(other_missing := other.missing([content]), [HEADER] * len(other_missing))
        plan.learn(missing, [HEADER] * len(missing))
        (response,) = responses(plan.render(Batch([1], contents=[content])))
        assert all(value.endswith(b"\r\n") for value in response.data.values())


def test_names_of_fields_count_in_the_cache_too() -> None:
    cache = HeaderCache(10_000)
    kept = section(b"BODY[HEADER.FIELDS (A)]", "HEADER.FIELDS", fields=(b"a",))
    plan = Plan([kept], cache)
    plan.learn(plan.missing([1]), [HEADER])
    long = section(b"BODY[HEADER.FIELDS (B)]", "HEADER.FIELDS", fields=(b"b" * 20_000,))
    assert Plan([long], cache).missing([1]) == [1]
    assert Plan([kept], cache).missing([1]) == [1], "it gave way"


@pytest.mark.parametrize(
    ("partial", "expected"),
    [(None, b"abc"), ((0, 2), b"ab"), ((2, 9), b"c"), ((3, 1), b""), ((1 << 40, 1), b"")],
)
def test_cut(partial: tuple[int, int] | None, expected: bytes) -> None:
    assert cut(b"abc", partial) == expected
