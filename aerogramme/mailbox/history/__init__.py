"""What an account was, what of that is kept, and how the rest leaves the store."""
