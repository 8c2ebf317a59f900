"""Where a pass puts mail: what is there already, and what is missing from it."""
