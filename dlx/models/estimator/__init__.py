"""scikit-learn estimators as modules."""
