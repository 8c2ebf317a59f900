"""Maildirs, those of Dovecot and those of other programs."""
