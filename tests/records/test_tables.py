"""docs/RESULTS.md is what the records make it, and each of its figures stands in its record."""

import json
import math
import re
import statistics

import pytest

from dlx.config.catalogue import Catalogue
from dlx.config.published import Figure, format_number, read_figures
from dlx.config.search import find_search_path
from dlx.errors import UsageError
from dlx.records.measured import Record, read_records
from dlx.records.tables import _FIGURE, fill, make_page, render
from tests.conftest import EXPERIMENTS, ROOT

RESULTS = ROOT / "docs" / "results"
PAGE = (ROOT / "docs" / "RESULTS.md").read_text()
RECORDS = read_records([RESULTS])
NUMBER = re.compile(r"-?\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?")


def published(name):
    return read_figures(Catalogue(find_search_path()).read_published(name))


def numbers(text):
    return [float(one.replace(",", "")) for one in NUMBER.findall(text)]


def test_the_page_is_generated():
    assert make_page(RESULTS) == PAGE, "type make results, and commit docs/RESULTS.md"


def _values(record):
    return {name: list(values) for name, values in record.metrics.items()}


def transcribed():
    for table in sorted((RESULTS / "transcribed").glob("*.json")):
        for place, row in enumerate(json.loads(table.read_text())):
            yield pytest.param(row, id=f"{table.stem}-{place}")


@pytest.mark.parametrize("row", list(transcribed()))
def test_a_transcribed_figure_stands_in_its_record(row):
    """Each figure that its row shows is the record's, to the last digit shown; the row stands on the page."""
    assert row["transcribed"] is True
    assert re.fullmatch(r"[0-9a-f]{12}", row["commit"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", row["date"])
    record = next(one for one in RECORDS if (list(one.cells), _values(one)) == (row["cells"], row["metrics"]))
    cells = [fill(cell, record, published) for cell in row["cells"]]
    assert "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|" in PAGE
    for template, cell in zip(row["cells"], cells, strict=True):
        literal = re.escape(_FIGURE.sub("\0", template)).replace("\0", "(.*?)").replace("\\\0", "(.*?)")
        shown = re.fullmatch(literal, cell)
        assert shown is not None
        for match, text in zip(_FIGURE.finditer(template), shown.groups(), strict=True):
            if match["name"] == "published":
                continue
            values = row["seconds"] if match["name"] == "seconds" else row["metrics"][match["name"]]
            value = values[int(match["place"] or 0)]
            if match["part"]:
                value = {"mean": statistics.mean, "sd": statistics.stdev}[match["part"]](values)
            scaled = value * 100 if match["form"].endswith("%") else value
            mantissa, _, exponent = text.replace(",", "").partition("e")
            digit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
            assert math.isclose(float(text.replace(",", "")), scaled, abs_tol=0.5 * digit * (1 + 1e-6))


@pytest.mark.parametrize("file", sorted(RESULTS.glob("[!t]*/*.json")), ids=lambda file: file.parent.name)
def test_a_runs_figure_stands_in_its_record(file):
    record = json.loads(file.read_text())
    start, keys = f"| `dlx train experiment={file.parent.name}", set(record["overrides"])
    found = [line for line in PAGE.splitlines() if line.startswith(start) and f"`, seed {record['seed']} " in line]
    (row,) = [line for line in found if set(re.findall(r" ([\w.]+)=", line[len(start) :].split("`")[0])) == keys]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    name, value = cells[1].split()[:2]
    scale = 100 if cells[1].endswith("%") else 1
    assert float(value) == pytest.approx(record["metrics"][name] * scale, rel=1e-3)
    assert numbers(cells[-1])[-1] == pytest.approx(record["seconds"], rel=1e-3)
    assert not re.search(r"/home/|/work/|/tmp/", file.read_text())
    assert "host" not in record["machine"]


def test_experiments_as_their_files_say_have_metrics_by_name():
    for record in RECORDS:
        if record.is_plain and record.seeds:
            assert all(name.startswith(("train/", "val/", "test/")) for name in record.metrics), record.command
            assert record.experiment in EXPERIMENTS
            longest = max(len(values) for values in record.metrics.values())
            assert longest == len(record.seeds), record.command


def test_a_published_figure_is_shown_only_if_it_was_seen():
    """In the page, and in the headers of the files, where the figures stood before they were data."""
    for name in EXPERIMENTS:
        head = (ROOT / "conf" / "experiment" / f"{name}.yaml").read_text().partition("# Measured")[0]
        head = "".join(line for line in head.splitlines() if line.startswith("#"))
        rows = [line for line in PAGE.splitlines() if f"experiment={name}`" in line or f"experiment={name} " in line]
        for figure in published(name):
            said = format_number(figure.value)
            assert not re.search(rf"(?<![\d.]){re.escape(said)}(?![\d.])", head), f"{said} in the header of {name}"
            others = {other.value for other in published(name) if other.seen}
            if not figure.seen and figure.value not in others:
                assert not any(re.search(rf"(?<![\d.]){re.escape(said)}(?![\d.])", row) for row in rows)


def test_no_header_says_what_was_measured():
    """They name the page: a figure in two places is wrong in one of them sooner or later."""
    for name in EXPERIMENTS:
        for line in (ROOT / "conf" / "experiment" / f"{name}.yaml").read_text().splitlines():
            if line.startswith("# Measured"):
                first = re.split(r"[.:;](?: |$)", line.partition("docs/RESULTS.md")[0])[0]
                assert not re.search(r"\d\.\d", first), line


HEAD = "| command | measured | published | seconds |\n| --- | --- | --- | --- |\n"


def one(seed, value, **more):
    metrics, command = {"test/error": (value,)}, "dlx train experiment=tiny"
    return Record("tiny", {}, command, (seed,), "2026-01-01", "a", metrics, (9.5,))._replace(**more)


def test_a_new_record_is_a_row():
    figures = [Figure("test/error", 0.95, None, "%", None, "Them 1998", True)]
    page = render(f"Prose.\n\n{HEAD}<!-- table t: ti* -->\n", [one(0, 0.0086), one(1, 0.0073)], lambda _: figures)
    row = page.splitlines()[-1]
    measured = "test/error 0.86, 0.73 %: 0.795 ± 0.092 %"
    assert row == f"| `dlx train experiment=tiny`, seeds 0, 1 | {measured} | 0.95 % (Them 1998) | 9.5 |"
    other = [*[one(0, 0.0086)], one(0, 0.5, overrides={"a": 1}, command="dlx train experiment=tiny a=1")]
    assert len(render(f"{HEAD}<!-- table t: * -->\n", other, lambda _: []).splitlines()) == 5


def test_what_has_no_place_is_an_error():
    with pytest.raises(UsageError, match="no place for tiny"):
        render(f"{HEAD}<!-- table t: other -->\n", [one(0, 0.1)], lambda _: [])
    with pytest.raises(UsageError, match="no marker for lost"):
        render(HEAD, [one(0, 0.1, transcribed=True, table="lost")], lambda _: [])
    bad = one(0, 0.1, transcribed=True, table="t", cells=("{test/loss[0]:.2f}",))
    with pytest.raises(UsageError, match="which its record has not"):
        render(f"{HEAD}<!-- table t -->\n", [bad], lambda _: [])
