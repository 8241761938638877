"""The evidence of latent-variable models by its bounds."""
