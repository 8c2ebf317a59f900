"""All that a state says, as plain values, to compare states however they came about."""

from aerogramme.log.state import State
from aerogramme.log.table import Table


def facts_of(state: State) -> dict[str, object]:
    """What must be the same after the same entries, in any order, from any checkpoint."""
    return {
        "tables": {m: table_facts(t) for m, t in state.tables.items() if t.version or len(t) or t.top},
        "attributes": state.attributes,
        "names": state.names,
        "roles": state.roles,
        "subscriptions": state.subscriptions,
        "uidvalidity": state.last_uidvalidity,
        "vector": state.vector,
        "clock": state.clock,
        "spellings": dict(zip(map(str.casefold, state.flagsets.names), state.flagsets.names, strict=True)),
        "contents": {c for t in state.tables.values() for c in t.contents if c in state.contents},
    }


def table_facts(table: Table) -> dict[str, object]:
    flagsets = table.flagsets
    columns = (table.uids, table.ids, table.modseqs, table.sizes, table.dates, table.contents)
    check_columns(table)
    return {
        "rows": list(zip(*columns, (flagsets.sets[n] for n in table.flags), strict=True)),
        "hidden": {
            m: (h.modseq, flagsets.sets[h.flags], h.size, h.date, h.content) for m, h in table.hidden.items()
        },
        "tombs": list(table.tombs.rows()),
        "early": table.early,
        "claims": table.claims,
        "claimed": table.claimed,
        "facts": {flagsets.names[f].casefold(): list(facts.rows()) for f, facts in table.facts.items()},
        "attributes": (table.uidvalidity, table.top, table.highestmodseq),
    }


def check_columns(table: Table) -> None:
    """The invariants of the columns."""
    columns = (table.uids, table.ids, table.modseqs, table.flags, table.sizes, table.dates, table.contents)
    assert len({len(column) for column in columns}) == 1
    assert all(a < b for a, b in zip(table.uids, table.uids[1:], strict=False))
    index = table.by_id()
    assert list(index.rows()) == sorted(zip(table.ids, table.uids, strict=True))
    for facts in table.facts.values():
        assert all(a < b for a, b in zip(facts.ids, facts.ids[1:], strict=False))
    assert all(q <= table.highestmodseq for q in table.modseqs)
    assert not table.early.keys() & set(table.ids)
