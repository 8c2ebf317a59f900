"""Dovecot's own formats: sdbox, a file for each letter, and mdbox, many letters in a file."""
