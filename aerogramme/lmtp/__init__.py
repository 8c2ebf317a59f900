"""LMTP: mail comes in from the MTA. protocol.py decides without I/O, server.py carries octets and letters."""
