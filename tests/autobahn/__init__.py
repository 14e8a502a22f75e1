"""RFC 6455 and RFC 7692 by the word of somebody else: Autobahn's test suite against our own lines."""
