"""Many trainings as one experiment: sweepers and launchers behind Hydra's plugin interface, and their results."""
