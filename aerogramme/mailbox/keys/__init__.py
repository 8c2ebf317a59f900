"""Who can open an account: slots, the keyring, and how these change."""
