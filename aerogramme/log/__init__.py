"""The order-free log of an account: entries, the state they add up to, the journal that reads and appends."""
