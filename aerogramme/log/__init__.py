"""The order-free log of an account: entries, the state they add up to, and the journal that reads and appends them."""
