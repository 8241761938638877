"""Networks that learn by playing against each other."""
