"""Tables: CSV files and scikit-learn's bundled tables."""
