"""Where mail goes to: each module writes one kind of store."""
