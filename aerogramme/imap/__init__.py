"""IMAP: what clients read and change. framing, grammar and session decide without I/O; server.py has the sockets."""
