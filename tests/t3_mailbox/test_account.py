"""Messages and mailboxes of one account, one behaviour a test."""
