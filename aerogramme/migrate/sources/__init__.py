"""Where mail comes from: each module reads one kind of store and changes nothing in it."""
