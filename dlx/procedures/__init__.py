"""How a model learns: one file a procedure."""
