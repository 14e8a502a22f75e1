"""Server-Sent Events from outside."""
