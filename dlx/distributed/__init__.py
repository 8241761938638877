"""Several processes that train one model: who they are, what they exchange, and what happens when one is lost."""
