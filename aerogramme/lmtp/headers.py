"""The header lines that delivery adds above a message: Return-Path, Delivered-To and Received."""

import re
import time
from datetime import UTC, datetime
from email.utils import format_datetime

# What would end a line or a field, or hide in it.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def trace_fields(
    *,
    sender: str,
    recipient: str,
    hostname: str,
    now: float | None = None,
    source: str = "",
    protocol: str = "",
    ident: str = "",
) -> bytes:
    """The lines, each ended by CR LF, to be put before the message.

    `sender` ("" for the null path) and `recipient` are addresses as they may stand in a header; `now` is in
    unix seconds. `source` is who handed the message over, `protocol` how ("LMTP", RFC 3848), `ident` what
    the log calls it; without them (a local delivery) those clauses are left out.
    """
    moment = datetime.fromtimestamp(time.time() if now is None else now, UTC)
    received = f"from {source}\r\n\tby {hostname}" if source else f"by {hostname}"
    if protocol:
        received += f" with {protocol}"
    if ident:
        received += f" id {ident}"
    clean = _UNSAFE.sub
    # RFC 5321 §4.4: Return-Path at the very beginning, put there by the final delivery; then what was added
    # last.
    return (
        f"Return-Path: <{clean('?', sender)}>\r\n"
        f"Delivered-To: {clean('?', recipient)}\r\n"
        f"Received: {received}\r\n\tfor <{clean('?', recipient)}>; {format_datetime(moment)}\r\n"
    ).encode("utf-8", "replace")


def source_clause(client: str, host: str | None) -> str:
    """Extended-Domain of RFC 5321 §4.4: what the client says it is, and its IP address (None: local)."""
    if host is None:
        return client
    return f"{client} ([{'IPv6:' if ':' in host else ''}{host}])"  # §4.1.3
