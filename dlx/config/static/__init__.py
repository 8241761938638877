"""What constructors accept, read from their source text without importing them."""
