"""Reads the mail of an IMAP server, as a client of it (RFC 3501, RFC 9051).

Theory of operation. `access` says who logs in where, and opens a stream to it. `reading` makes answers of
octets, and `answers` makes values of answers; both are without I/O. A `connection` sends commands and waits
for their ends. The `pool` has a few connections, and opens them anew where they fall. `listing`, `columns`
and `letters` are what a source says: mailboxes, messages, letters; `source` joins them.

Mailboxes are opened to be read only (EXAMINE), and letters are looked at, not seen (PEEK): nothing changes
there. The server is not trusted: whatever it says is bounded, and what makes no sense ends the connection.
"""
