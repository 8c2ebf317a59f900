"""An encrypted, log-structured mail store. docs/journey.md is the map of these folders."""
