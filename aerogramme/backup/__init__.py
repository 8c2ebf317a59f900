"""Backups: what a store holds, sealed as it is, in files that any disk can keep (docs/backup.md)."""
