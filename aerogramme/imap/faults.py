"""How a fault of our own is logged (see aerogramme/faults.py)."""

from aerogramme.faults import stack

__all__ = ["stack"]
