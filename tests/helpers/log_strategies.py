"""Hypothesis strategies: logs of several replicas, with every kind of conflict."""

from hypothesis import strategies as st

from aerogramme.log.entry import (
    NO_LINK,
    Add,
    Claim,
    Entry,
    Flags,
    MailboxOp,
    Remove,
    SegmentRef,
    Subscribe,
    Touch,
)

FLAGS = ["\\Seen", "\\Deleted", "Work", "work", "WORK", "$Junk"]
MAILBOXES = [1, 2]

# Few ids and UIDs, so that they meet; runs of ids, so that slices do.
_run = st.tuples(st.integers(1, 30), st.integers(1, 12)).map(lambda r: list(range(r[0], r[0] + r[1])))
ids = st.one_of(_run, st.lists(st.integers(1, 40), min_size=1, max_size=6, unique=True))
mailboxes = st.sampled_from(MAILBOXES)
flags = st.lists(st.sampled_from(FLAGS), max_size=2, unique_by=str.casefold).map(tuple)


@st.composite
def adds(draw):
    new = draw(ids)
    n = len(new)
    first = draw(st.integers(1, 40))
    uids = draw(st.permutations(range(first, first + n))) if draw(st.booleans()) else range(first, first + n)
    numbers = st.integers(0, 3)
    column = st.lists(numbers, min_size=n, max_size=n)
    sets = draw(st.lists(flags, min_size=n, max_size=n))
    contents = draw(st.one_of(st.just(new), st.lists(st.integers(1, 20), min_size=n, max_size=n)))
    groups = {"digest": b"x"}
    segment = SegmentRef(f"{draw(st.integers(0, 9)):032x}", sorted(set(contents)), ("digest",), groups)
    return Add(draw(mailboxes), new, uids, draw(column), draw(column), sets, contents, segment)


@st.composite
def claims(draw):
    of = draw(ids)
    first = draw(st.integers(1, 60))
    return Claim(draw(mailboxes), of, range(first, first + len(of)))


operations = st.one_of(
    adds(),
    adds(),
    claims(),
    st.builds(Remove, mailboxes, ids),
    st.builds(Flags, mailboxes, ids, flags, flags),
    st.builds(Touch, mailboxes, ids),
    st.builds(
        MailboxOp,
        mailboxes,
        st.sampled_from([None, "Work", "Play"]),
        st.sampled_from([None, "", "\\Junk"]),
        st.sampled_from([None, True, False]),
        st.sampled_from([None, 5, 6]),
        st.sampled_from([None, None, 3, 30]),
    ),
    st.builds(Subscribe, st.sampled_from(["Work", "Play"]), st.booleans()),
)


@st.composite
def logs(draw, max_entries=10):
    """Entries of up to three replicas by clock; clocks of different replicas may be equal."""
    entries, seqs, clocks = [], {}, {}
    for _ in range(draw(st.integers(0, max_entries))):
        replica = draw(st.integers(1, 3))
        seqs[replica] = seqs.get(replica, 0) + 1
        clocks[replica] = clocks.get(replica, 0) + draw(st.integers(1, 3))
        ops = tuple(draw(st.lists(operations, min_size=1, max_size=3)))
        seen = {r: draw(st.integers(0, n)) for r, n in seqs.items() if r != replica}
        entries.append(Entry(clocks[replica], replica, seqs[replica], NO_LINK, ops, seen))
    return entries
