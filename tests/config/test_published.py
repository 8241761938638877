"""`published`, the figures of a source: what may stand there, and what the experiments have there."""

import pytest

from dlx.config.catalogue import Catalogue
from dlx.config.compose import compose
from dlx.config.published import FIELDS, OPTIONAL, find_mistakes, format_number, read_figures
from dlx.config.search import find_search_path
from dlx.errors import UsageError
from tests.conftest import EXPERIMENTS

GOOD = {"metric": "test/error", "value": 0.95, "unit": "%", "source": "LeCun et al. 1998", "seen": True}


def typed(**changes):
    entry = {**GOOD, **changes}
    said = ",".join(f"{key}:{'true' if value is True else value}" for key, value in entry.items() if value is not ...)
    return [f"published=[{{{said}}}]"]


def test_a_figure_is_typed_like_any_other_key():
    (figure,) = read_figures(compose(typed()).published)
    assert (figure.value, figure.unit, figure.spread, figure.seen) == (0.95, "%", None, True)
    assert str(figure) == "0.95 % (LeCun et al. 1998)"
    assert str(figure._replace(spread=0.1, setting="none")) == "0.95 ± 0.1 % (LeCun et al. 1998; none)"
    assert compose([]).published == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"value": "much"}, r"published\[0\]\.value was given much; needed: a number"),
        ({"value": True}, r"published\[0\]\.value was given true; needed: a number"),
        ({"spread": "wide"}, r"published\[0\]\.spread was given wide; needed: a number or null"),
        ({"unit": "kg"}, r'published\[0\]\.unit was given kg; needed: one of %, nats, bits, ""'),
        ({"seen": "maybe"}, r"published\[0\]\.seen was given maybe; needed: true or false"),
        ({"source": 7}, r"published\[0\]\.source was given 7; needed: text"),
        ({"metric": "error"}, r"published\[0\]\.metric was given error; needed: train/, val/ or test/"),
        ({"sorce": "me"}, r"published\[0\] takes no sorce; did you mean source\?"),
        *(({name: ...}, rf"published\[0\] has no {name}; needed: ") for name in FIELDS if name not in OPTIONAL),
    ],
)
def test_a_mistake_is_answered_by_the_usual_report(change, said):
    with pytest.raises(UsageError, match=said):
        compose(typed(**change))


@pytest.mark.parametrize("given", ["3", "much"])
def test_figures_are_a_list(given):
    with pytest.raises(UsageError, match="needed: a list of figures"):
        compose([f"published={given}"])


def test_every_mistake_is_reported_with_its_file_and_line(tmp_path):
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    lines = ["# @package _global_", "published:", "  - {metric: test/error, value: 1, unit: kg, source: a}"]
    (tmp_path / "conf" / "experiment" / "bad.yaml").write_text("\n".join(lines))
    with pytest.raises(UsageError, match=r"(?s)unit was given kg.*has no seen") as error:
        compose(["experiment=bad"])
    assert "bad.yaml:3" in str(error.value)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_experiments_figures_are_whole_and_have_a_source(name):
    entries = Catalogue(find_search_path()).read_published(name)
    figures = read_figures(entries)
    assert len(figures) == len(entries)
    for figure in figures:
        assert figure.source.strip(), f"{figure.metric} of {name} was seen, but where?"
        if figure.unit == "%":
            assert figure.metric.rpartition("/")[2] in ("accuracy", "error")
            assert 0 < figure.value < 100


def test_an_experiment_has_the_figures_of_the_one_that_it_is_made_from(tmp_path):
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    file = tmp_path / "conf" / "experiment" / "mine.yaml"
    file.write_text("# @package _global_\ndefaults:\n  - lenet5_mnist\ntrainer: {epochs: 21}\n")
    composed = read_figures(compose(["experiment=mine"]).published)
    assert read_figures(Catalogue(find_search_path()).read_published("mine")) == composed != []


@pytest.mark.parametrize(("value", "said"), [(5.3e-5, "5.3e-5"), (0.8, "0.8"), (225, "225"), (-86.43, "-86.43")])
def test_numbers_are_as_short_as_they_are_exact(value, said):
    assert format_number(value) == said
    assert float(said) == value


def test_an_exponent_is_a_number_for_plain_yaml_too():
    assert read_figures([{**GOOD, "value": "5e-5"}])[0].value == 5e-5
    assert read_figures([{**GOOD, "value": "five"}]) == []
    assert list(find_mistakes([GOOD])) == []
