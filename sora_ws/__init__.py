"""sora-ws: pushes the progress of AI video tasks over WebSocket, and loses none of them."""

__version__ = "0.1.0"
