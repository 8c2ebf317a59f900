"""IMAP: what clients read and change. Framing, grammar and session are without I/O; server.py has the sockets."""
