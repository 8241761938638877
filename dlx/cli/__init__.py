"""The command line: the entry point, Hydra's application, help, completion, and one command per verb."""
