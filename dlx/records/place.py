"""Find the directories that hold records."""

from pathlib import Path

FOLDER = Path("docs", "results")


def find_checkout(start: Path) -> Path | None:
    """Return the directory of records of the checkout that `start` lies in; None outside one."""
    places = (place / FOLDER for place in (start, *start.parents))
    return next((place for place in places if place.is_dir()), None)


def find_results() -> list[Path]:
    """Return the directories of records: the one that comes with dlx, and the working directory's checkout."""
    here = Path(__file__).resolve().parent.parent  # dlx
    own = here / "results" if (here / "results").is_dir() else here.parent / FOLDER
    return list(dict.fromkeys(place for place in (own, find_checkout(Path.cwd().resolve())) if place))
