"""An account as a live Maildir++ (maildir(5), Dovecot's dialect of it)."""
