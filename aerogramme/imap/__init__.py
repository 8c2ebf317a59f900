"""IMAP: what clients read and change. Protocol and session are without I/O; server.py has the sockets."""
