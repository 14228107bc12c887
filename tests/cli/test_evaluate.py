"""`cyclegan evaluate`."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from cyclegan.evaluation.features.efficientnet_lite import VARIANTS
from cyclegan.system.files import file_sha256
from tests.cli.program import Ended, is_refusal, is_sentence
from tests.evaluation.examples import data_set, folder
from tests.models.examples import generators_file

Program = Callable[..., Ended]
pytestmark = pytest.mark.usefixtures("short_classifier")
LITE0 = VARIANTS["lite0"]
needs_weights = pytest.mark.skipif(LITE0.folder is None, reason="the extra features is not installed")


@pytest.fixture
def without_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """No package of weights is installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if "efficientnet" in name else find(name, *rest)
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with a model of random weights."""
    data_set(tmp_path / "data", train=12, test=5, side=40)
    generators_file(tmp_path / "run" / "checkpoints" / "generators-00000007.safetensors")
    (tmp_path / "run" / "config.yaml").write_text(
        yaml.safe_dump({"data": str(tmp_path / "data"), "lambda_cycle": 10.0})
    )
    return tmp_path / "run"


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    return folder(tmp_path / "fake", "b", 4, side=32)


@pytest.fixture
def real(tmp_path: Path) -> Path:
    return folder(tmp_path / "real", "b", 5, start=50, side=32)


@pytest.mark.slow
def test_a_run_is_measured_both_ways_and_figures_and_protocol_are_kept(
    program: Program, run: Path, without_packages: None
) -> None:
    ended = program("evaluate", run, "--json", "--device", "cpu", "--precision", "fp32")
    assert ended.code == 0, ended.err
    answer = json.loads(ended.out)
    assert set(answer) == {"metrics", "intervals", "protocol"}
    metrics, protocol = answer["metrics"], answer["protocol"]
    for way, source, target in (("ab", "a", "b"), ("ba", "b", "a")):
        names = ("fid", "kid", "kid_std", "judge", "diversity", "nearest", "luminance_correlation", "checkerboard")
        wanted = {f"{name}_{way}" for name in names}
        wanted |= {f"fid_real_{way}", f"fid_source_{way}", f"judge_real_{way}", f"judge_source_{way}"}
        wanted |= {f"neither_{way}", f"neither_real_{way}", f"neither_source_{way}"}
        wanted |= {f"cycle_l1_{source}", f"cycle_ssim_{source}", f"cycle_noise_ratio_{source}", f"identity_l1_{target}"}
        assert wanted <= set(metrics)
    assert json.loads((run / "evaluation.json").read_text()) == answer
    file = run / "checkpoints" / "generators-00000007.safetensors"
    wanted = {"file": str(file), "which": "last", "step": 7, "sha256": file_sha256(file)}
    assert protocol["checkpoint"] == wanted
    assert protocol["size"] == 32  # the model's crop
    assert protocol["pictures"]["held out A"]["count"] == 5
    assert protocol["pictures"]["learned from B"]["count"] == 12
    assert protocol["features"]["name"] == "judge"
    assert protocol["judge"]["learned_from"][:2] == [8, 8]  # beside early translations
    # Once more: the judge is there already, and everything is the same; of one of its checkpoints nothing is stored
    (run / "evaluation.json").unlink()
    again = program("evaluate", file, "--direction", "ab", "--device", "cpu", "--precision", "fp32")
    assert again.code == 0, again.err
    assert "training a judge" not in again.err
    assert not (run / "evaluation.json").exists()
    share, neither = (f"{metrics[name]:.0%}".replace("%", " %") for name in ("judge_ab", "neither_ab"))
    said = rf"{share} of the translated pictures are taken for B, \d+ % for A, {neither} for neither \(real B: "
    assert re.search(said, again.out)
    assert re.search(rf"FID +{metrics['fid_ab']:.2f} ", again.out)
    assert "B to A" not in again.out
    for words in ("classifies", "held out A: 5 pictures", "scaled: the shorter side", "features: judge", "seed 0"):
        assert words in again.out


@pytest.mark.slow
@needs_weights
def test_features_are_those_of_lite0_where_it_is_installed_and_of_training_pictures_kept(
    program: Program, run: Path, tmp_path: Path
) -> None:
    words = ("evaluate", run, "--json", "--device", "cpu", "--max-pictures", 2, "--direction", "ab")
    ended = program(*words, "--classes", "zebra")
    assert ended.code == 0, ended.err
    answer = json.loads(ended.out)
    protocol, metrics = answer["protocol"], answer["metrics"]
    assert (protocol["features"]["name"], protocol["features"]["sha256"]) == ("lite0", LITE0.sha256)
    assert protocol["classes"]["sha256"] == LITE0.sha256
    wanted = {"kid_ab", "judge_ab", "class_share_ab", "identity_perceptual_b", "nearest_ab"}
    assert wanted <= metrics.keys()
    assert "perceptual distance in the features" in protocol["perceptual"]
    assert len(list((tmp_path / "cache" / "features").iterdir())) == 1
    again = json.loads(program(*words).out)["metrics"]
    assert again == {name: value for name, value in metrics.items() if "class_share" not in name}


@pytest.mark.slow
def test_it_ends_with_a_verdict_where_that_is_asked_for(
    program: Program, run: Path, tmp_path: Path, features: tuple[object, ...]
) -> None:
    score = tmp_path / "score.json"
    score.write_text(json.dumps({"texture": 0.9, "texture_nothing": 0.0, "background": 0.5}))
    ask = ("evaluate", run, *features, "--device", "cpu")
    words = ("--verdict", "--name", "a", "plain animals", "--score", "ab", score)
    ended = program(*ask, *words)
    assert ended.code == 0, ended.err
    figures, _, verdict = ended.out.partition("\nVerdict: ")
    assert figures.endswith(f"stored in {run / 'evaluation.json'}\n")
    assert verdict.startswith("it works.\n  plain animals to B: 90 % of the animals' pixels have the right texture")
    assert "translated plain animals are taken for B" in verdict
    assert "For longer" not in verdict
    score.write_text(json.dumps({"texture": 0.1, "texture_nothing": 0.0, "background": 0.5}))
    ended = program(*ask, *words, "--longer", "again {run} {steps}")
    assert f"  It was trained for 7 steps. To train longer: again {run} 21\n" in ended.out
    assert "Verdict" not in (run / "evaluation.json").read_text()


def test_a_verdict_that_cannot_be_is_a_sentence_before_anything_is_measured(
    program: Program, run: Path, fake: Path, real: Path, tmp_path: Path
) -> None:
    for words in (("--name", "a", "horses"), ("--longer", "x"), ("--score", "ab", tmp_path / "score.json")):
        is_refusal(program("evaluate", run, *words), "give --verdict too")
    is_refusal(program("evaluate", run, "--verdict", "--json"), "leave out --json")
    is_refusal(program("evaluate", "--fake", fake, "--real", real, "--verdict"), "what a MODEL has learned")
    is_refusal(program("evaluate", run, "--verdict", "--score", "ab", tmp_path / "none"), "--score", "holds no score")
    is_refusal(program("evaluate", "--fake", fake, "--real", real, "--direction", "b"), "'b' is no direction")


@pytest.mark.slow
def test_truth_is_compared_by_name(program: Program, run: Path, tmp_path: Path, features: tuple[object, ...]) -> None:
    truth = folder(tmp_path / "truth", "b", 5, start=1000, side=40, suffix=".bmp")
    words = ("evaluate", run, *features, "--truth", truth, "--json", "--device", "cpu", "--max-pictures", 3)
    ended = program(*words, "--direction", "ab")
    assert ended.code == 0, ended.err
    answer = json.loads(ended.out)
    assert {"psnr_ab", "ssim_ab", "l1_ab", "rmse_ab", "within_ab"} <= set(answer["metrics"])
    assert (
        answer["protocol"]["pictures"]["held out A"] | {"count": 3, "of": 5}
        == answer["protocol"]["pictures"]["held out A"]
    )
    for file in truth.iterdir():
        file.rename(file.with_name("x" + file.name))
    is_sentence(program(*words), 2, "--truth", "lacks 3 of 3 pictures")


def test_two_folders_are_compared(
    program: Program, fake: Path, real: Path, tmp_path: Path, features: tuple[object, ...]
) -> None:
    source = folder(tmp_path / "source", "a", 4, side=32)
    ended = program("evaluate", "--fake", fake, "--real", real, "--source", source, *features, "--json")
    assert ended.code == 0, ended.err
    metrics = json.loads(ended.out)["metrics"]
    assert {"fid", "kid", "kid_std", "fid_source", "luminance_correlation", "diversity"} <= set(metrics)
    assert metrics["fid"] < metrics["fid_source"]
    assert json.loads(ended.out)["protocol"]["size"] == 32
    out = tmp_path / "out" / "figures.json"
    ended = program("evaluate", "--fake", fake, "--real", real, *features, "--output", out)
    assert ended.code == 0, ended.err
    assert json.loads(out.read_text())["metrics"]["fid"] == pytest.approx(metrics["fid"])
    assert f"{metrics['fid']:.2f}" in ended.out


@pytest.mark.slow
@needs_weights
def test_the_share_of_named_classes_is_printed_and_kept(
    program: Program, fake: Path, real: Path, tmp_path: Path
) -> None:
    source = folder(tmp_path / "source", "a", 4, side=32)
    ask = ("evaluate", "--fake", fake, "--real", real, "--source", source, "--features", "lite0")
    ended = program(*ask, "--classes", "zebra,velvet", "--output", tmp_path / "figures.json")
    assert ended.code == 0, ended.err
    answer = json.loads((tmp_path / "figures.json").read_text())
    shares = [answer["metrics"][f"class_share{part}"] for part in ("", "_real", "_source")]
    assert all(0 <= share <= 1 for share in shares)
    protocol = answer["protocol"]
    assert protocol["classes"]["names"] == "zebra, velvet"
    assert protocol["classes"]["sha256"] == protocol["features"]["sha256"] == LITE0.sha256
    fakes, reals, sources = (f"{share:.1%}".replace("%", " %") for share in shares)
    low, high = (f"{100 * end:.1f}" for end in answer["intervals"]["class_share"])
    wanted = rf"of the named classes +{fakes} \({low} to {high} %\) +{reals} +{sources}"
    assert re.search(wanted, ended.out)
    assert "classes: zebra, velvet, by lite0 (579344248a93), bicubic to 224 px" in ended.out


@pytest.mark.slow
def test_a_judge_of_two_folders_learns_from_others(
    program: Program, fake: Path, real: Path, tmp_path: Path, without_packages: None
) -> None:
    ask = ("evaluate", "--fake", fake, "--real", real)
    is_refusal(program(*ask), "--features judge", "other than those it judges", "--data")
    is_refusal(program(*ask, "--features", "lite0"), "--features lite0", "not installed", "cyclegan[features]")
    is_refusal(program(*ask, "--classes", "zebras"), "--classes", "did you mean 'zebra'")
    is_refusal(program(*ask, "--weights", fake / "000.png"), "--weights", "name it by --features")
    data_set(tmp_path / "data", train=12, test=2, side=32)
    names = {"--a": "trainA", "--b": "trainB", "--test-a": "testA", "--test-b": "testB"}
    given = tuple(word for option, name in names.items() for word in (option, tmp_path / "data" / name))
    ended = program(*ask, *given, "--json")
    assert ended.code == 0, ended.err
    answer = json.loads(ended.out)
    assert 0 <= answer["metrics"]["judge_real"] <= 1
    said = r"are taken for trainB, \d+ % for trainA, \d+ % for neither \(real trainB: "
    assert re.search(said, program(*ask, *given).out)
    learned = ("evaluate", "--fake", fake, "--real", tmp_path / "data" / "trainB", *given)
    is_refusal(program(*learned), "--real", "12 of 12 pictures", "held-out")


def test_label_maps_need_no_features(program: Program, tmp_path: Path) -> None:
    for name, colours in (("found", ["red", "blue"]), ("truth", ["red", "red"])):
        picture = np.array(
            [[{"red": (250, 3, 0), "blue": (0, 0, 255)}[colour] for colour in colours] * 8] * 16, np.uint8
        )
        (tmp_path / name).mkdir()
        Image.fromarray(picture).save(tmp_path / name / "one.png")
    (tmp_path / "colours.yaml").write_text("red: [255, 0, 0]\nblue: [0, 0, 255]\n")
    ask = ("evaluate", "--fake", tmp_path / "found", "--truth", tmp_path / "truth")
    ended = program(*ask, "--labels", tmp_path / "colours.yaml", "--json")
    assert ended.code == 0, ended.err
    metrics = json.loads(ended.out)["metrics"]
    assert metrics["pixel_accuracy"] == 0.5
    assert metrics["class_iou"] == 0.25
    assert "fid" not in metrics
    shown = program(*ask, "--labels", tmp_path / "colours.yaml").out
    assert re.search(r"per-pixel accuracy +50\.0 %", shown)


def test_pictures_that_cannot_be_compared_are_a_sentence(
    program: Program, fake: Path, real: Path, tmp_path: Path, features: tuple[object, ...]
) -> None:
    ask = ("evaluate", "--fake", fake, "--real")
    one = folder(tmp_path / "one", "b", 1, side=32)
    is_refusal(program(*ask, one, *features), "at least two")
    is_refusal(program("evaluate", "--fake", one, "--real", real, *features), "at least two")
    other = folder(tmp_path / "other", "b", 2, side=48)
    is_refusal(program(*ask, other, *features), "different sizes", "48×48", "--size N")
    assert program(*ask, other, *features, "--size", 32).code == 0
    is_refusal(program("evaluate", "--fake", fake, "--truth", other), "--truth", "lacks 2 of 4 pictures")
    larger = folder(tmp_path / "larger", "b", 4, side=48)
    is_refusal(program("evaluate", "--fake", fake, "--truth", larger), "48×48", "--size N")
    (tmp_path / "empty").mkdir()
    is_refusal(program(*ask, tmp_path / "empty", *features), "--real", "holds no picture")
    is_refusal(program(*ask, tmp_path / "none", *features), "--real", "is not a folder")
    is_refusal(program(*ask, real, "--source", other, *features, "--size", 32), "--source", "lacks 2 of 4")


def test_what_is_asked_for_wrongly_is_a_sentence(program: Program, fake: Path, real: Path, run: Path) -> None:
    is_refusal(program("evaluate"), "name one thing to measure")
    is_refusal(program("evaluate", run, "--fake", fake), "name one thing to measure")
    is_refusal(program("evaluate", run, "--real", real), "--real and --source go with --fake")
    is_refusal(program("evaluate", "--fake", fake), "compares with nothing")
    ask = ("evaluate", "--fake", fake, "--real", real)
    is_refusal(program(*ask, "--features", "nothing.pt"), "there is no file nothing.pt")
    is_refusal(program(*ask, "--features", "inception"), "--download")
    is_refusal(program(*ask, "--features", "resnet18"), "--random-features")
    is_refusal(program(*ask, "--labels", "x.yaml"), "give --truth")
    is_refusal(program(*ask, "--classes", "zebrra"), "--classes", "did you mean 'zebra'")
    is_refusal(program("evaluate", "--fake", fake, "--truth", real, "--classes", "zebra"), "--classes", "give --real")
    is_refusal(program(*ask, "--device", "abacus"), "--device")
    is_refusal(program("evaluate", fake), "MODEL")


@pytest.mark.slow
def test_a_model_by_itself_has_to_be_told_its_pictures(
    program: Program, run: Path, tmp_path: Path, features: tuple[object, ...]
) -> None:
    alone = generators_file(tmp_path / "alone.safetensors")
    is_refusal(program("evaluate", alone, *features), "nothing says what it is measured on", "--data")
    ended = program("evaluate", alone, *features, "--data", tmp_path / "data", "--direction", "ba", "--json")
    assert ended.code == 0, ended.err
    assert "fid_ba" in json.loads(ended.out)["metrics"]
    assert "fid_ab" not in json.loads(ended.out)["metrics"]
    (tmp_path / "data").rename(tmp_path / "moved")
    is_refusal(program("evaluate", run, *features), "does not exist", "if they have moved, give --data")


@pytest.mark.slow
def test_a_self_test_prints_sets_and_rules_and_fails_where_a_default_figure_is_out_of_order(
    program: Program, run: Path, features: tuple[object, ...], tmp_path: Path
) -> None:
    folder(tmp_path / "data" / "testA", "a", 18, start=1000, side=40)
    folder(tmp_path / "data" / "testB", "b", 18, start=1000, side=40)
    words = ("evaluate", "--self-test", *features, "--device", "cpu", "--seed", 3)
    ended = program(*words, "--data", tmp_path / "data", "--direction", "ba", "--max-pictures", 16)
    assert ended.code == 1, ended.err  # features of random weights
    assert ended.out.startswith("B to A, sets of 8 pictures\n")
    for start in ("one picture ", "strong speckle ", "kept    diversity: 'one picture' has to be below", "broken  "):
        assert f"\n{start}" in ended.out
    assert "Error: --self-test: figures are in the wrong order: " in ended.err
    assert "choose other --features" in ended.err
    ended = program(*words, run, "--json")
    answer = json.loads(ended.out)
    assert list(answer["self_test"]) == ["ab", "ba"]
    assert answer["protocol"]["size"] == 32  # the model's crop
    assert answer["protocol"]["seed"] == 3
    assert answer["self_test"]["ab"]["figures"]["nothing"]["luminance_correlation"] == pytest.approx(1)
    assert not (run / "evaluation.json").exists()


def test_a_self_test_that_cannot_be_is_a_sentence(program: Program, run: Path, fake: Path, tmp_path: Path) -> None:
    is_refusal(program("evaluate", "--self-test"), "name a RUN, or give --data DIR")
    for words in (("--fake", fake), ("--truth", fake), ("--verdict",), ("--labels", fake)):
        is_refusal(program("evaluate", run, "--self-test", *words), "measures the figures and no translations")
    is_refusal(program("evaluate", run, "--self-test", "--direction", "zb"), "--direction zb")
    is_refusal(program("evaluate", run, "--self-test"), "ab needs 8 held-out pictures of A", "there are 5, 5 and 12")
