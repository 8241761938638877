"""The command line as it is typed: every mistake in one report, exit codes, nothing left behind, torch unimported."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dlx.config.compose import compose
from dlx.config.report import ConfigError
from dlx.errors import TrainingError, UsageError
from tests.conftest import ROOT

BIN = Path(sys.executable).parent


def dlx(*words, env=None, timeout=60):
    """`dlx WORDS` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "dlx", *words],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "COLUMNS": "80", **(env or {})},
    )


@pytest.fixture
def main(capsys):
    """`dlx WORDS` in this process: exit code, standard output, standard error."""

    def run(*words):
        from dlx.cli.main import main

        with pytest.raises(SystemExit) as stop:
            main(list(words))
        told = capsys.readouterr()
        return stop.value.code, told.out, told.err

    return run


@pytest.fixture
def job(monkeypatch):
    """Replace what trains by a function of the configuration; gives the configurations it was called with."""
    import dlx.run

    seen = []

    def use(body):
        def train(config):
            seen.append(config)
            return body(config) or {}

        monkeypatch.setattr(dlx.run, "train", train)
        return seen

    return use


def mistakes(*overrides):
    """What `compose` finds wrong, as text for each thing given."""
    with pytest.raises(ConfigError) as caught:
        compose(list(overrides))
    return {problem.given: str(problem) for problem in caught.value.problems}


# ---- one report names all mistakes


def test_one_report_names_every_mistake_with_its_remedy_and_place():
    words = ["modle=lenet5", "optimizer.lrr=0.1", "trainer.epochs=abc", "model=lenet6", "dataset=mnits", "seed=-1", "x"]
    done = dlx("train", *words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert os.listdir() == []
    for word in words:
        assert f"  {word}: " in done.stderr
    for remedy in ("model=lenet5", "optimizer.lr=0.1", "dataset=mnist"):
        assert f"did you mean {re.split('[.=]', remedy)[-2]}" in done.stderr or remedy in done.stderr
        assert f"type {remedy}\n" in done.stderr
    for group, key in (("optimizer/adam", "lr"), ("trainer/default", "epochs")):
        file = ROOT / "conf" / f"{group}.yaml"
        line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if text.startswith(f"{key}:"))
        assert f"{group}.yaml:{line}\n" in done.stderr
    assert done.stderr.splitlines()[0].startswith("dlx: 7 mistakes")


TOGETHER = {
    "trainer.epochs=0": "a whole number of at least 1",
    "trainer.batch=half": "or one of full, auto",
    "trainer.save_every=1e-3x": "a number of at least 0",
    "trainer.precision=8": "one of 32, 16, bf16",
    "trainer.device=0": "needed: text",
    "model.dropout=1": "in [0, 1)",
    "model.hidden=64": "type model.hidden=[64]",
    "task.loss=hing": "type task.loss=hinge",
    "optimizer.lr=fast": "needed: a number",
    "allow=os": "type allow=[os]",
    "lr=0.1": "type optimizer.lr=0.1",
    "epochs=3": "type trainer.epochs=3",
    "optimiser=sgd": "type optimizer=sgd",
    "modle=lenet": "type model=lenet5",
    "scheduler.gamma=0.5": "gamma belongs to scheduler=exponential",
    "dataset.augment.flipp=1": "did you mean flip?",
    "model=mnist": "mnist is a dataset: type dataset=mnist",
    "lenet5": "type model=lenet5",
    "hydra.run.dri=x": "did you mean dir?",
    "hydra.job.chdir=abc": "not a valid bool",
    "hydra/launcher=nothing": "there is no hydra/launcher nothing",
    "optimizer.eps=0.1,0.2": "type dlx train -m optimizer.eps=0.1,0.2",
    "optimizer=adam,sgd": "type dlx train -m optimizer=adam,sgd",
    "dataset.seed=f(x)": "quotes included",
    "+optimizer.weight_decay=1": "type optimizer.weight_decay=1",
    "+model.colour=red": "takes no colour",
    "~optimizer.lrr": "did you mean lr?",
    "seed=???": "seed has no value",
    "model.outputs=${nowhere}": "cannot be resolved",
}


def test_keys_of_a_procedure_that_was_replaced():
    with pytest.raises(ConfigError, match=r"takes no pretrain; .*; to leave it out, type ~procedure\.pretrain"):
        compose(["experiment=vincent2010_sdae", "procedure=backprop"])
    assert (
        "pretrain"
        not in compose(["experiment=vincent2010_sdae", "procedure=backprop", "~procedure.pretrain"]).procedure
    )


def test_all_kinds_of_mistakes_stand_in_one_report():
    told = mistakes(*TOGETHER)
    assert list(told) == list(TOGETHER)
    assert [word for word, text in TOGETHER.items() if text not in told[word]] == []


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("trainer.epochs=1.5", "a whole number"),
        ("optimizer.lr=-1", "needed: 0.0 <= lr"),
        ("optimizer.betas=[0.9,2.0]", "betas[1] < 1.0"),
        ("~optimizer", "needs an optimizer"),
        ("model._target_=dlx.models.mlp.MPL", "did you mean dlx.models.mlp.MLP?"),
        ("model._target_=os.system", "type allow=[os]"),
        ("model._target_=dlx.run.time.sleep", "not among what may be built"),
        ("model._target_=3", "the dotted name of a class"),
    ],
)
def test_each_mistake(word, told):
    assert told in mistakes(word)[word]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--epochs", "3"], "type trainer.epochs=3"),
        (["--trainer.epochs=3"], "type trainer.epochs=3"),
        (["--multrun"], "did you mean --multirun?"),
        (["trian"], "did you mean dlx train?"),
        (["--cfg", "jobb"], "invalid choice"),
        (["--cfg", "job", "--info"], "needed: one of them"),
        (["--cfg", "job", "-p", "optimiser"], "type optimizer"),
        (["--config-dir", "nowhere"], "there is no"),
        (["--config-name", "nowhere"], "nowhere"),
        (["--experimental-rerun", "x.pickle"], "dlx resume"),
        (["list", "modles"], "did you mean dlx list models?"),
        (["list", "--fits", "mnist"], "type --fits dataset=mnist"),
        (["list", "--fits", "dataset=mnits"], "did you mean mnist?"),
        (["list", "--jsno"], "Did you mean '--json'? type"),
        (["runs", "--nonsense"], "--nonsense"),
    ],
)
def test_usage_errors_are_exit_2(main, words, told):
    code, out, err = main(*words)
    assert code == 2
    assert out == ""
    assert told in err
    assert "Traceback" not in err
    assert os.listdir() == []


def test_a_model_that_does_not_fit_says_what_fits():
    (told,) = mistakes("model=lenet5", "dataset=iris").values()
    assert "lenet5 takes image data" in told
    assert "iris is vector data of shape [4]" in told
    assert "fits" in told
    assert "mnist" in told
    assert "iris is fit by mlp" in told


def test_a_task_without_its_labels():
    assert "type task=regression" in mistakes("dataset=diabetes", "task=classification")["task=classification"]
    assert compose(["dataset=diabetes"]).task._target_.endswith("Regression")


def test_a_dataset_without_labels_names_models_for_it():
    (told,) = mistakes("dataset=bars_and_stripes").values()
    assert "needs classes" in told
    assert "type model=" in told


def test_every_pair_of_a_sweep_is_checked(main):
    code, _, err = main("-m", "model=lenet5,mlp", "dataset=mnist,diabetes,iris")
    assert code == 2
    assert err.count("lenet5 does not fit") + err.count("lenet5 takes") == 2
    assert not Path("outputs").exists()


def test_every_value_of_a_sweep_is_checked(main):
    code, _, err = main("-m", "optimizer.lr=0.1,-1,fast", "model=mlp,mpl", "trainer.epochs=range(0,3)")
    assert code == 2
    for told in ("optimizer.lr=-1", "optimizer.lr=fast", "there is no model mpl", "trainer.epochs was given 0"):
        assert told in err


# ---- keys that no YAML lists


def test_a_key_that_only_the_constructor_lists_can_be_set():
    assert compose(["optimizer.amsgrad=true"]).optimizer.amsgrad is True
    assert compose(["model.output.l1=0.5"]).model.output.l1 == 0.5
    assert (
        "a number" in mistakes("optimizer.weight_decy=x", "optimizer.amsgrad=3", "optimizer.eps=x")["optimizer.eps=x"]
    )
    assert "true or false" in mistakes("optimizer.amsgrad=3")["optimizer.amsgrad=3"]
    assert compose(["+note=mine"]).note == "mine"


def test_a_schedules_rhythm_is_borrowed():
    assert compose(["scheduler=cosine", "scheduler.interval=step"]).scheduler.interval == "step"
    assert "one of step, epoch" in mistakes("scheduler=cosine", "scheduler.interval=day")["scheduler.interval=day"]


def test_compose_leaves_hydras_state_alone():
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        mine = GlobalHydra.instance().hydra
        assert compose(["seed=1"]).seed == 1
        assert compose(["seed=2"]).seed == 2
        assert GlobalHydra.instance().hydra is mine
    assert "hydra" not in compose([])


# ---- the user's own files


NET = """
from torch import nn
from dlx.types import Count

class Net(nn.Module):
    accepts = ("image",)

    def __init__(self, shape: list[int], outputs: int, width: Count = 8) -> None:
        super().__init__()
"""
NET_YAML = """# @package _global_
# a net of my own
model:
  _target_: mine.Net
  shape: ${dataset.shape}
  outputs: ${dataset.outputs}
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A directory with ./mine.py and ./conf/model/mine.yaml."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "mine.py").write_text(NET)
    (tmp_path / "conf" / "model" / "mine.yaml").write_text(NET_YAML)
    return tmp_path


def test_own_files_are_composed_checked_and_trusted(mine):
    assert compose(["model=mine", "model.width=4"]).allow == ["mine"]
    assert "mine.py:" in mistakes("model=mine", "model.widht=4")["model.widht=4"]
    told = mistakes("model=mine", "model.width=0")["model.width=0"]
    assert "at least 1" in told
    assert "conf/model/mine.yaml:" in told
    (told,) = mistakes("model=mine", "dataset=iris").values()
    assert "mine takes image data" in told


def test_mistakes_in_own_files_are_named_with_their_line(mine):
    file = mine / "conf" / "model" / "mine.yaml"
    file.write_text(NET_YAML.replace("${dataset.outputs}", "???") + "  widht: 3\n  width: 0\n")
    told = mistakes("model=mine")
    assert "did you mean width?" in told["conf/model/mine.yaml:7"]
    assert "at least 1" in told["conf/model/mine.yaml:8"]
    assert "model.outputs has no value; needed: a whole number" in told["conf/model/mine.yaml:6"]
    file.write_text(NET_YAML + "  width: [\n")
    assert any("no YAML" in text for text in mistakes("model=mine").values())


def test_own_files_replace_built_in_ones_and_config_dir_replaces_both(mine):
    (mine / "conf" / "optimizer").mkdir()
    (mine / "conf" / "optimizer" / "adam.yaml").write_text("_target_: torch.optim.Adam\n_partial_: true\nlr: 0.5\n")
    assert compose([]).optimizer == {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.5}
    (mine / "more" / "optimizer").mkdir(parents=True)
    (mine / "more" / "optimizer" / "adam.yaml").write_text("_target_: torch.optim.Adam\n_partial_: true\nlr: 0.7\n")
    assert compose([], config_dir="more").optimizer.lr == 0.7


def test_only_the_working_directorys_conf_is_trusted(mine):
    shutil.move("conf", "foreign")
    with pytest.raises(ConfigError, match=r"type allow=\[mine\]"):
        compose(["model=mine"], config_dir="foreign")
    assert compose(["model=mine", "allow=[mine]"], config_dir="foreign").allow == ["mine"]


def test_a_conf_of_another_application_says_so(mine):
    (mine / "conf" / "config.yaml").write_text("db: mysql\n")
    with pytest.raises(ConfigError, match=r"conf/config.yaml.*nothing is chosen from"):
        compose([])


def test_own_files_are_listed(mine):
    entries = json.loads(dlx("list", "models", "--json").stdout)
    (own,) = [entry for entry in entries if entry["name"] == "mine"]
    assert own["origin"] == "user"
    assert own["description"] == "a net of my own"
    assert own["target"] == "mine.Net"
    assert "mine" in dlx("--help").stdout


# ---- the catalogue


def test_help_is_the_catalogue(main):
    code, out, _ = main("--help")
    assert code == 0
    for file in (ROOT / "conf").glob("*/*.yaml"):
        assert file.stem in out
        comment = next(line for line in file.read_text().splitlines() if line[:1] == "#" and "@package" not in line)
        assert comment.lstrip("# ") in out
    for verb in ("train", "resume", "doctor"):
        assert f"  {verb} " in out
    assert main()[1] == out == main("train", "-h")[1]
    assert "* mlp" in out


def test_list(main):
    entries = json.loads(main("list", "--json")[1])
    files = {file.relative_to(ROOT / "conf") for file in (ROOT / "conf").glob("*/*.yaml")}
    assert {Path(entry["group"], f"{entry['name']}.yaml") for entry in entries} == files
    assert all(entry["description"] for entry in entries)
    assert main("list", "models")[1] == main("list", "model")[1]


def test_list_fits(main):
    def names(*words):
        return [entry["name"] for entry in json.loads(main("list", "--json", *words)[1])]

    assert "lenet5" in names("--fits", "dataset=mnist")
    assert "lenet5" not in names("models", "--fits", "dataset=iris")
    assert {"mnist", "npz", "image_folder"} <= set(names("datasets", "--fits", "model=lenet5"))
    assert not {"iris", "digits", "diabetes"} & set(names("--fits", "model=lenet5"))


def test_what_fits_composes_and_what_does_not_is_refused(main):
    for dataset in ("digits", "iris", "diabetes", "mnist"):
        entries = json.loads(main("list", "models", "--json", "--fits", f"dataset={dataset}")[1])
        fitting = {entry["name"] for entry in entries}
        for model in ("mlp", "lenet5", "gan"):
            try:
                compose([f"model={model}", f"dataset={dataset}"])
                composes = True
            except ConfigError:
                composes = False
            assert composes is (model in fitting), (model, dataset)


# ---- Hydra's conventions


def test_config_is_shown(main):
    shown = yaml.safe_load(main("--cfg", "job", "-p", "optimizer", "optimizer.amsgrad=true")[1])
    assert shown["amsgrad"] is True
    assert yaml.safe_load(main("optimizer.lr=3", "--cfg", "job")[1])["optimizer"]["lr"] == 3
    assert "run_id" in main("--cfg", "hydra", "-p", "hydra.run")[1]
    assert os.listdir() == []


def test_info_and_hydra_help():
    assert "procedure/adversarial" in dlx("--info", "defaults", "model=gan").stdout
    assert "Hydra" in dlx("--hydra-help").stdout
    assert re.match(r"dlx \S+ \(hydra 1\.3", dlx("--version").stdout)


def test_a_run_has_a_directory_of_its_own(main, job):
    import hydra.core.hydra_config as hydra

    directories = []
    seen = job(lambda config: directories.append(Path(hydra.HydraConfig.get().runtime.output_dir)))
    for _ in range(2):  # in the same second
        assert main("train", "seed=3")[0] == 0
    assert [config.seed for config in seen] == [3, 3]
    for directory in directories:
        assert re.fullmatch(r"outputs/digits/mlp/[\d_-]{19}-[0-9a-f]{8}", str(directory.relative_to(Path.cwd())))
        assert (directory / ".hydra" / "config.yaml").is_file()
    assert directories[0] != directories[1]
    assert main("seed=4", "hydra.run.dir='here, there'")[0] == 0
    assert directories[2] == Path("here, there").absolute()


def test_a_directory_that_holds_a_run_is_refused(main, job):
    seen = job(lambda config: None)
    Path("old").mkdir()
    Path("old/run.json").write_text("{}")
    code, _, err = main("train", "hydra.run.dir=old")
    assert code == 2
    assert "dlx resume old" in err
    assert os.listdir("old") == ["run.json"]
    Path("file").write_text("")
    assert main("train", "hydra.run.dir=file/run")[0] == 2
    assert seen == []


def test_a_usage_error_while_loading_leaves_nothing(main, job):
    def fail(config):
        raise UsageError("no data; type dataset.path=…")

    job(fail)
    code, _, err = main("train")
    assert (code, err) == (2, "dlx: no data; type dataset.path=…\n")
    assert os.listdir() == []
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("keep")
    assert main("train", "hydra.run.dir=mine")[0] == 2
    assert os.listdir("mine") == ["notes.txt"]
    Path("empty").mkdir()
    assert main("train", "hydra.run.dir=empty")[0] == 2
    assert os.listdir("empty") == []


def test_exit_codes(main, job):
    from dlx.errors import Interrupted

    def fail(error):
        def body(config):
            raise error

        return body

    job(fail(TrainingError("the loss is nan")))
    assert main("train")[0::2] == (1, "dlx: the loss is nan\n")
    job(fail(Interrupted("saved at step 3")))
    assert main("train")[0::2] == (130, "dlx: saved at step 3\n")
    job(fail(KeyboardInterrupt()))
    assert main("train")[0] == 130


def test_an_error_in_own_code_shows_own_code(main, job, mine, monkeypatch):
    (mine / "broken.py").write_text("def f(x):\n    return g(x)\n\ndef g(x):\n    return x / 0\n")
    monkeypatch.syspath_prepend(str(mine))
    import broken

    job(lambda config: broken.f(1))
    code, _, err = main("train")
    assert code == 1
    assert "ZeroDivisionError" in err
    assert "broken.py" in err
    assert "hydra/" not in err
    assert "DLX_DEBUG=1" in err
    monkeypatch.setenv("DLX_DEBUG", "1")
    assert "hydra/" in main("train")[2]


def test_a_sweep_runs_every_job_and_names_those_that_failed(main, job):
    def odd(config):
        if config.seed == 1:
            raise UsageError("one is odd")

    seen = job(odd)
    code, _, err = main("-m", "seed=0,1,2", "optimizer.amsgrad=true")
    assert code == 3
    assert [config.seed for config in seen] == [0, 1, 2]
    assert all(config.optimizer.amsgrad for config in seen)
    assert "one is odd" in err
    assert "1 of the sweep's jobs failed" in err
    assert "seed=1" in err.splitlines()[-1]
    (sweep,) = Path("outputs/sweeps").iterdir()
    assert sorted(folder.name[:13] for folder in sweep.iterdir() if folder.is_dir()) == [
        "0-mlp-digits-",
        "2-mlp-digits-",
    ]


def test_an_earlier_sweeps_failures_are_not_this_ones(main, job):
    seen = job(lambda config: None)
    Path("sweep").mkdir()
    Path("sweep/failed.jsonl").write_text('{"job": 0, "overrides": "", "error": "old"}\n')
    assert main("-m", "seed=0,1", "hydra.sweep.dir=sweep")[0] == 0
    assert len(seen) == 2


def test_own_code_is_trusted_in_a_changed_directory(main, job, mine):
    seen = job(lambda config: Path("here").write_text(""))
    assert main("model=mine", "hydra.job.chdir=true", "hydra.run.dir=run")[0] == 0
    assert seen[0].allow == ["mine"]
    assert Path("run/here").exists()


def test_a_sweep_that_is_interrupted_stops(main, job):
    from dlx.errors import Interrupted

    def stop(config):
        raise Interrupted("saved")

    seen = job(stop)
    assert main("-m", "seed=0,1,2")[0] == 130
    assert len(seen) == 1


def test_a_sweep_without_failures(main, job):
    seen = job(lambda config: {"val/best_accuracy": 0.5})
    assert main("--multirun", "model=glob(ml*)", "seed=range(2)")[0] == 0
    assert len(seen) == 2


# ---- completion


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes(mine):
    script = """
    eval "$(dlx -sc install=bash)"
    ask() {
        COMP_LINE="$1"; COMP_POINT=${#1}; words=($1); COMP_CWORD=$(( ${#words[@]} - 1 )); COMPREPLY=()
        [[ "$1" == *" " ]] && COMP_CWORD=${#words[@]}
        hydra_bash_completion; echo "${COMPREPLY[*]}"
    }
    ask "dlx model=le"
    ask "dlx train optimizer=adagrad model=mi"
    ask "dlx tra"
    ask "dlx optimizer.am"
    ask "dlx list mod"
    ask "dlx evaluate --sp"
    """
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert done.stdout.splitlines() == [
        "model=lenet5",
        "model=mine",
        "train trainer. trainer=",
        "optimizer.amsgrad=",
        "models",
        "--split",
    ], done.stderr


# ---- nothing heavy is loaded


def test_answers_without_loading_torch():
    code = """
import sys
from dlx.cli.main import main
for words in ("--help", "list", "list --fits dataset=mnist --json", "--cfg job", "resume --help", "--version",
              "modle=x trainer.epochs=abc model=lenet6", "model=lenet5 dataset=iris"):
    try:
        main(words.split())
    except SystemExit:
        pass
heavy = ["torch", "numpy", "sklearn", "matplotlib", "torchvision", "scipy", "tensorboard", "PIL"]
print([name for name in heavy if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


def test_importing_dlx_imports_nothing():
    code = "import sys, dlx; print([name for name in ('torch', 'hydra', 'rich', 'numpy') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
