"""The lines that delivery adds."""

import email
import email.policy

import pytest

from aerogramme.lmtp.headers import source_clause, trace_fields


def test_over_lmtp():
    assert trace_fields(
        sender="me@a.example",
        recipient="you@b.example",
        hostname="mx.b.example",
        now=1234567890,
        source=source_clause("client.example", "192.0.2.1"),
        protocol="LMTP",
        ident="0123",
    ) == (
        b"Return-Path: <me@a.example>\r\n"
        b"Delivered-To: you@b.example\r\n"
        b"Received: from client.example ([192.0.2.1])\r\n"
        b"\tby mx.b.example with LMTP id 0123\r\n"
        b"\tfor <you@b.example>; Fri, 13 Feb 2009 23:31:30 +0000\r\n"
    )


def test_delivered_on_the_spot():
    assert trace_fields(sender="", recipient="you@b.example", hostname="h", now=0) == (
        b"Return-Path: <>\r\n"
        b"Delivered-To: you@b.example\r\n"
        b"Received: by h\r\n"
        b"\tfor <you@b.example>; Thu, 01 Jan 1970 00:00:00 +0000\r\n"
    )


def test_where_from():
    assert source_clause("c", "2001:db8::1") == "c ([IPv6:2001:db8::1])"
    assert source_clause("c", None) == "c"


@pytest.mark.parametrize("evil", ["a\r\nX: y@b", "a\nb", "a\rb", "a\0b", "a\x85b", "a\u2028b", "\ud800"])
def test_nothing_can_be_put_into_them(evil):
    fields = trace_fields(sender=evil, recipient=evil, hostname="h")
    assert fields.count(b"\r\n") == 4
    message = email.message_from_bytes(fields + b"\r\n", policy=email.policy.compat32)
    assert message.keys() == ["Return-Path", "Delivered-To", "Received"]
