"""Training on pictures of every kind, from the folder to a translation of the same kind."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from cyclegan import Translator
from cyclegan.config import TrainConfig
from cyclegan.errors import CycleganError, UsageError
from cyclegan.images import read_picture
from cyclegan.models import load_model
from cyclegan.training import train
from tests.support.run_files import read_metrics
from tests.training.conftest import TINY


def numbers(seed: int, channels: int, dtype: str, low: float, high: float) -> np.ndarray:
    """40 × 44 random pixels between `low` and `high`, both of which occur."""
    pixels = np.random.default_rng(seed).uniform(low, high, (40, 44, channels))
    pixels[0, 0], pixels[-1, -1] = low, high
    return pixels.astype(dtype)


def png(path: Path, pixels: np.ndarray) -> None:
    assert cv2.imwrite(str(path.with_suffix(".png")), pixels)


def tiff(path: Path, pixels: np.ndarray) -> None:
    import tifffile

    if pixels.shape[2] == 1:
        tifffile.imwrite(path.with_suffix(".tif"), pixels[:, :, 0])
    else:
        kind = "rgb" if pixels.shape[2] == 3 else "minisblack"
        tifffile.imwrite(path.with_suffix(".tif"), pixels, photometric=kind, planarconfig="contig")


def npy(path: Path, pixels: np.ndarray) -> None:
    np.save(path.with_suffix(".npy"), pixels)


Save = Callable[[Path, np.ndarray], None]


def pictures(folder: Path, save: Save, *kind: Any, count: int = 4) -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        save(folder / str(number), numbers(number, *kind))
    return folder


def config(a: Path, b: Path, **changes: Any) -> TrainConfig:
    options = {"pool_size": 2} | changes.pop("options", {})
    return TrainConfig(**(TINY | {"a": str(a), "b": str(b), "steps": 30} | changes | {"options": options}))


KINDS = {
    "grey 16-bit PNG": (png, (1, "uint16", 0, 65535), (1, "uint16", 0, 65535), {}),
    "grey 12-bit PNG": (png, (1, "uint16", 0, 4095), (1, "uint16", 100, 3000), {"range": "minmax"}),
    "grey 8-bit PNG": (png, (1, "uint8", 0, 255), (1, "uint8", 0, 255), {}),
    "RGB 16-bit PNG": (png, (3, "uint16", 0, 65535), (3, "uint16", 0, 65535), {"workers": 1}),
    "float TIFF": (tiff, (1, "float32", -5, 80), (1, "float32", 0, 3), {"range": "percentile:1,99"}),
    "signed TIFF": (tiff, (1, "int16", -1000, 3000), (1, "int16", -1000, 3000), {"range": "-1024,3071"}),
    "five bands": (npy, (5, "uint16", 0, 65535), (5, "uint16", 0, 65535), {"cache": "disk"}),
    "four bands to RGB": (
        tiff,
        (4, "uint8", 0, 255),
        (3, "uint8", 0, 255),
        {"options": {"lambda_identity": 0.0}},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_what_was_learnt_from_is_translated_to_its_own_kind(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CYCLEGAN_CACHE", str(tmp_path / "cache"))
    save, kind_a, kind_b, changes = KINDS[name]
    a, b = (pictures(tmp_path / domain, save, *kind) for domain, kind in (("a", kind_a), ("b", kind_b)))
    run = train(config(a, b, sample_every=30, **changes), tmp_path / "run")
    rows = read_metrics(run)
    losses = [value for row in rows for key, value in row.items() if key.startswith("loss/")]
    assert len(losses) == 30 * (8 if "options" not in changes else 6)
    assert np.isfinite(losses).all()

    translator = Translator.load(run, device="cpu")
    picture = read_picture(next(a.iterdir()))
    (made,) = translator.pictures([picture])
    assert made.pixels.dtype == np.dtype(kind_a[1])
    assert made.pixels.shape == (40, 44, kind_b[0])
    assert made.pixels.std() > 0
    ranges = load_model(run).info.get("ranges")
    assert (ranges is not None) == ("range" in changes)
    if ranges is not None:
        low, high = (float(edge) for edge in ranges["b"].split(","))
        assert low <= made.pixels.min() <= made.pixels.max() <= high
    grid = np.asarray(Image.open(run / "samples" / "a2b-00000030.png"))
    columns = 4 if "options" not in changes else 3
    assert grid.shape[:2] == (2 * 34 + 2, columns * 34 + 2)
    assert grid.ndim == (2 if kind_a[0] == kind_b[0] == 1 else 3)


def test_a_domain_of_four_bands_has_no_identity_to_learn(tmp_path: Path) -> None:
    a = pictures(tmp_path / "a", npy, 4, "uint8", 0, 255)
    b = pictures(tmp_path / "b", npy, 3, "uint8", 0, 255)
    with pytest.raises(UsageError, match="from 4 to 3 channels cannot leave a picture alone; give --lambda-identity 0"):
        train(config(a, b), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.fixture
def measured(tmp_path: Path) -> Callable[..., TrainConfig]:
    a = pictures(tmp_path / "a", npy, 1, "uint16", 100, 3000)
    b = pictures(tmp_path / "b", npy, 1, "uint16", 0, 900)
    return lambda **changes: config(a, b, range="minmax", **changes)


@pytest.mark.slow
def test_a_resumed_run_keeps_its_ranges_though_the_pictures_have_others(
    tmp_path: Path, measured: Callable[..., TrainConfig]
) -> None:
    expected = {"a": "100,3000", "b": "0,900", "dtype": "uint16"}
    run = train(measured(steps=1), tmp_path / "run")
    assert json.loads((run / "pictures.json").read_text()) == {"channels": {"a": 1, "b": 1}, "ranges": expected}
    pictures(tmp_path / "a", npy, 1, "uint16", 0, 65535)
    train(measured(steps=2), run)
    assert load_model(run).info["ranges"] == expected
    state = run / "checkpoints/state-00000002.pt"
    assert load_model(state).info["ranges"] == expected
    assert torch.load(state, weights_only=True)["ranges"] == expected


def test_another_range_is_refused_and_so_is_a_run_without_its_record(
    tmp_path: Path, measured: Callable[..., TrainConfig]
) -> None:
    run = train(measured(steps=1), tmp_path / "run")
    with pytest.raises(UsageError, match="--range: this run was begun with minmax, not full"):
        train(TrainConfig(**(measured(steps=2).__dict__ | {"range": "full"})), run)
    (run / "pictures.json").write_text("{}")
    with pytest.raises(CycleganError, match=r"pictures.json is damaged; restore it from a copy, or start again"):
        train(measured(steps=2), run)
    (run / "pictures.json").unlink()
    with pytest.raises(CycleganError, match=r"pictures.json is missing; restore it"):
        train(measured(steps=2), run)


@pytest.mark.slow
def test_a_run_from_before_there_were_ranges_goes_on_in_rgb(tmp_path: Path, tiny: Callable[..., TrainConfig]) -> None:
    import yaml

    run = train(tiny(steps=1), tmp_path / "run")
    (run / "pictures.json").unlink()
    values = yaml.safe_load((run / "config.yaml").read_text())
    del values["range"]
    (run / "config.yaml").write_text(yaml.safe_dump(values))
    for path in (tmp_path / "a").iterdir():
        Image.open(path).convert("L").save(path)
    for path in (tmp_path / "b").iterdir():
        Image.open(path).convert("L").save(path)
    train(tiny(steps=2), run)
    assert (run / "checkpoints/state-00000002.pt").exists()
    with pytest.raises(UsageError, match="--range: this run was begun with full, not minmax"):
        train(tiny(steps=3, range="minmax"), run)


@pytest.mark.slow
def test_pictures_of_another_kind_among_the_others_are_unreadable_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from cyclegan.data import kinds

    a = pictures(tmp_path / "a", npy, 3, "uint8", 0, 255, count=12)
    b = pictures(tmp_path / "b", npy, 3, "uint8", 0, 255, count=12)
    np.save(a / "1-stray.npy", numbers(0, 4, "uint8", 0, 255))
    monkeypatch.setattr(kinds, "HEADERS", 8)  # so that the sample misses it
    with caplog.at_level(logging.WARNING, "cyclegan"):
        train(config(a, b, steps=13), tmp_path / "run")
    assert "1-stray.npy cannot be read (it has 4 channels and the model takes 3)" in caplog.text
