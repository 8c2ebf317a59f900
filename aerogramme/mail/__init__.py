"""Messages as bytes: their structure by offsets, and all that is made from one when it comes in."""
