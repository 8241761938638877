"""Tables of probabilities as pictures, and whose names stand at them."""

from types import SimpleNamespace

import pytest
import torch

from dlx.datasets.synthetic.casino import Casino
from dlx.errors import UsageError
from dlx.figures import heat
from dlx.models.markov.hmm_tagger import HMMTagger
from dlx.tasks.tagging import Tagging
from dlx.training import pictures


def share(picture, colour):
    """The part of a picture that has a colour, given in bytes."""
    pixels = (picture * 255).round().long().flatten(1)
    return float((pixels == torch.tensor(colour)[:, None]).all(0).double().mean())


@pytest.mark.parametrize("states", [13, 30])
def test_each_cell_has_its_colour(states):
    picture = heat.plot_heatmap(torch.eye(states), "", "", "")
    blue, white = share(picture, (8, 48, 107)), share(picture, (247, 251, 255))  # the ends of ColorBrewer's Blues
    assert blue / (blue + white) == pytest.approx(1 / states, rel=0.1)
    few = torch.zeros(2, 4)
    few[:, 0] = 0.5  # the largest is darkest, and the numbers cover little of it
    small = heat.plot_heatmap(few, "", "", "", list("abcd"), ["\n", "a name that is too long"])
    assert share(small, (8, 48, 107)) / share(small, (247, 251, 255)) == pytest.approx(1 / 3, rel=0.2)


def test_words_and_tags_stand_at_a_tagger_s_tables(monkeypatch):
    seen = {}
    monkeypatch.setattr(heat, "plot_heatmap", lambda table, title, *names: seen.update({title: (table, *names)}))
    tagger = HMMTagger([5], 2, symbols=3)
    data = SimpleNamespace(dataset=SimpleNamespace(vocabulary=["<unk>", "a", "b"], names=["N", "V"]))
    data.has_split, data.split = (lambda name: True), (lambda name: [])
    logger = SimpleNamespace(images=lambda *given: None, is_enabled=lambda what: False)
    pictures.log_pictures(tagger, SimpleNamespace(pictures=lambda *given: {}), data, logger, 0, [], torch.device("cpu"))
    table, *names = seen["p(symbol | state)"]
    assert torch.equal(table, tagger.chain.log_emission.softmax(1))
    assert names == ["symbol", "state", ["<unk>", "a", "b"], ["N", "V"]]
    assert seen["p(next state | state)"][1:] == ("next state", "state", ["N", "V"], ["N", "V"])


def test_who_is_told_tags_needs_them():
    casino = Casino(examples=10)
    casino.load()
    with pytest.raises(UsageError, match="task=tagging was given for casino, which has no label at each step"):
        Tagging().attach(casino)
