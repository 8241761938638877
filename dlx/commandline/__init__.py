"""The command line around the verbs: Hydra's application, help, completion, tables."""
