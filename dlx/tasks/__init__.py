"""What a model is for: one file a task, the same numbers for every model, however it was trained."""
