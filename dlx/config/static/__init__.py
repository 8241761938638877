"""Read what constructors accept from their source text, without importing them."""
