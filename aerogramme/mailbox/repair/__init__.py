"""Repair: what the audit finds is mended as far as it can be, and nothing is thrown away unseen."""

from aerogramme.mailbox.repair.run import Outcome, repair

__all__ = ["Outcome", "repair"]
