"""Choose the metric that represents a run."""


def choose_key_metric(metrics: dict[str, float]) -> str | None:
    """Return the metric that represents a run: the one its best model was chosen by, else the first that is no loss."""
    chosen = [name.removeprefix("val/best_") for name in metrics if name.startswith("val/best_")]
    for split in ("test/", "val/", "train/"):
        names = [name for name in metrics if name.startswith(split)]
        for last in (*chosen, "accuracy", "r2", "log_likelihood", "pseudo_log_likelihood"):
            if split + last in names:
                return split + last
        plain = [name for name in names if not name.endswith(("loss", "_second", "lr"))]
        if plain or names:
            return (plain or names)[0]
    return None
