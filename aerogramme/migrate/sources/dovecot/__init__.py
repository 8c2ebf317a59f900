"""Dovecot's index files, which each of its formats has."""
