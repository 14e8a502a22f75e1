"""The documents: what they say is so, and what they show can be run."""
