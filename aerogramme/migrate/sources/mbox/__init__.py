"""Files of many letters, one after the other."""
