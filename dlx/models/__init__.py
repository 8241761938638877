"""What is computed: every learner is an nn.Module."""
