"""Generation of examples like the dataset's."""
