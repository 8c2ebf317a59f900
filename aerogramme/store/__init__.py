"""Where accounts are kept: one promise (port.py) and the kinds of stores that keep it."""

from aerogramme.store.port import Body, Cursor, Row, Store, Stores

__all__ = ["Body", "Cursor", "Row", "Store", "Stores"]
