"""Kill runs at random moments, resume them, and compare each with a run that was never interrupted."""
