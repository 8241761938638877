"""Several processes that learn one model: who they are, what they exchange, and what happens when one is lost."""
