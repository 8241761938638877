"""Models: every learner is an nn.Module."""
