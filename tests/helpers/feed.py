"""Feeds a framer the three ways: whole, octet by octet, and with octets following."""

from collections.abc import Callable, Iterator

from aerogramme.imap.framing import AppendData, AppendHead, Event, Framer, Limits

Decide = Callable[[AppendHead], bool]


def events(framer: Framer, decide: Decide = lambda _head: True) -> Iterator[Event]:
    """What the framer has to say now; messages are accepted or refused as `decide` says."""
    while (event := framer.next_event()) is not None:
        yield event
        if isinstance(event, AppendHead):
            if decide(event):
                framer.accept()
            else:
                framer.refuse()


def joined(found: list[Event]) -> list[Event]:
    """The same with neighbouring AppendData as one: how a message is cut depends on how it came."""
    out: list[Event] = []
    for event in found:
        if isinstance(event, AppendData) and out and isinstance(out[-1], AppendData):
            out[-1] = AppendData(out[-1].data + event.data)
        else:
            out.append(event)
    return out


def whole(data: bytes, limits: Limits, decide: Decide = lambda _head: True) -> list[Event]:
    """The events of octets that come at once."""
    framer = Framer(limits)
    framer.receive(data)
    return joined(list(events(framer, decide)))


def one_by_one(data: bytes, limits: Limits, decide: Decide = lambda _head: True) -> list[Event]:
    """The events of octets that come one by one."""
    framer = Framer(limits)
    found: list[Event] = []
    for octet in data:
        framer.receive(bytes([octet]))
        found += events(framer, decide)
    return joined(found)
