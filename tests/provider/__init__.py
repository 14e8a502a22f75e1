"""The provider client: its reading of every dialect, and its calls over real sockets."""
