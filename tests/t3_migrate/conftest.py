"""Accounts on a store in memory, audited when a test is over: those of the mailbox tests."""

from tests.t3_mailbox.conftest import account, cheap_passwords, world

__all__ = ["account", "cheap_passwords", "world"]
