"""Mailboxes and their messages as IMAP and LMTP see them: accounts, views, search, incoming letters,
audit.
"""
