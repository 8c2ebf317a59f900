"""Where mail goes to: an account as files that other programs read, and that Dovecot serves as it was here.

Theory of operation. An export is a copy that follows: what is in its folder is compared with the account, and
what differs is written, renamed or removed; so a run that was killed is run again, and a later one only
writes what has changed. What a run has made there stands in a record (record.py): all else is left alone.
Everything in the folder is opened relative to it and no symbolic link is followed, since it may belong to
somebody else than who runs the export.
"""
