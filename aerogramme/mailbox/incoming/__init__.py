"""What comes in for an account: letters, and parcels of an import; and how they become messages."""
