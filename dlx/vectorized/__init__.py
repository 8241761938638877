"""Many small trainings as one stacked model: alike but for their seeds and numbers, they step together."""
