"""Whether all is as it should be, and what is not."""
