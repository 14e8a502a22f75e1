"""Open lines to browsers. Read in this order: handler, connection, frames, hub, commands."""
