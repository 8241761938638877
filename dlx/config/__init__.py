"""From `key=value` words to a checked configuration, without importing torch."""
