"""Many small trainings as one stacked model: alike but for their seeds and numbers, they take their steps together."""
