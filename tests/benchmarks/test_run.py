"""Each command from end to end, as small as it goes: the record has its shape, and its figures agree."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from benchmarks.run import cli
from benchmarks.seats import Seat
from cyclegan.errors import CycleganError, UsageError

NETWORK = ("--size", "32", "--channels", "4", "--generator", "resnet_6blocks")


def run(*arguments: str) -> Result:
    """The program in this process; those that measure are others."""
    return CliRunner().invoke(cli, [*arguments, "--device", "cpu"])


def record(path: Path, *arguments: str) -> dict[str, Any]:
    """What a command writes, of which all that every record has is checked."""
    outcome = run(*arguments, "--json", str(path), "--repeats", "2")
    assert outcome.exit_code == 0, outcome.output
    written: dict[str, Any] = json.loads(path.read_text())
    assert {"machine", "command", "results", "benchmark", "title", "headline", "unit"} <= written.keys()
    assert {"device", "processor", "cores", "packages", "cyclegan"} <= written["machine"].keys()
    rows = {row["name"]: row for row in written["results"]}
    assert len(rows) == len(written["results"]), "names are unique"
    assert set(written["headline"]) <= rows.keys()
    for name, row in rows.items():
        assert {"name", "median_s", "spread", "ratio_to_baseline", "share_of_floor", "images_per_second"} <= row.keys()
        assert row["median_s"] > 0
        assert row["spread"] >= 0
        assert name in outcome.stdout
    return written | {"rows": rows}


@pytest.mark.process
def test_train_compares_steps_that_compute_the_same(tmp_path: Path) -> None:
    written = record(tmp_path / "train.json", "train", *NETWORK, "--variants", "fp32-eager")
    textbook, ours = (written["rows"][name] for name in ("textbook", "fp32-eager"))
    assert ours["ratio_to_baseline"] == pytest.approx(textbook["median_s"] / ours["median_s"])
    assert ours["memory_ratio"] == pytest.approx(ours["peak_memory_gib"] / textbook["peak_memory_gib"])
    assert ours["images_per_second"] == pytest.approx(1 / ours["median_s"])
    rate = max(written["ceilings"]["fp32"].values()) * 1e9
    assert ours["share_of_floor"] == pytest.approx(ours["flops"] / rate / ours["median_s"])
    assert textbook["flops"] == ours["flops"]
    assert textbook["steps_played"] == ours["steps_played"]
    assert ours["losses"].keys() == textbook["losses"].keys()
    assert len(ours["losses"]) == 8


class SameProcess:
    """In place of a seat, where a process of its own is not what the test is about: it costs seconds."""

    def __init__(self, make: Callable[..., Any], *arguments: Any, environment: object = None) -> None:
        self.held = make(*arguments)

    def __enter__(self) -> SameProcess:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def call(self, method: str, *arguments: Any) -> Any:
        """What a seat would answer."""
        return getattr(self.held, method)(*arguments)


@pytest.mark.slow
def test_translate_compares_translations_that_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.cases.translate.Seat", SameProcess)
    options = ("--pictures", "3", "--variants", "fp32", "--format", "png")
    rows = record(tmp_path / "translate.json", "translate", *NETWORK, *options)["rows"]
    assert rows.keys() == {"textbook", "textbook network", "fp32", "fp32 network"}
    for what in ("", " network"):
        ratio = rows[f"textbook{what}"]["median_s"] / rows[f"fp32{what}"]["median_s"]
        assert rows[f"fp32{what}"]["ratio_to_baseline"] == pytest.approx(ratio)
    assert rows["fp32"]["psnr_to_baseline_db"] > 60


@pytest.mark.process
def test_data_compares_both_epochs_of_every_cache(tmp_path: Path) -> None:
    options = ("--size", "32", "--pictures", "3", "--batch-size", "2", "--workers", "0", "--step-ms", "1")
    rows = record(tmp_path / "data.json", "data", *options)["rows"]
    assert rows.keys() == {
        f"{name}, {epoch} epoch" for name in ("textbook", "off", "ram", "disk") for epoch in ("first", "second")
    }
    for epoch in ("first", "second"):
        ratio = rows[f"textbook, {epoch} epoch"]["median_s"] / rows[f"ram, {epoch} epoch"]["median_s"]
        assert rows[f"ram, {epoch} epoch"]["ratio_to_baseline"] == pytest.approx(ratio)
    assert 0 <= rows["ram, second epoch"]["data_wait"] <= 1


@pytest.mark.process
def test_scale_measures_two_processes_and_foretells_more(tmp_path: Path) -> None:
    written = record(tmp_path / "scale.json", "scale", *NETWORK, "--processes", "2", "--variant", "fp32-eager")
    rows = written["rows"]
    assert [row["processes"] for row in rows.values()] == [1, 2, 2, 4, 8, 16, 32, 64]
    assert {name for name, row in rows.items() if row["basis"] == "measured"} == {"1 process", "2 processes"}
    assert rows["64 processes foretold"]["efficiency"] < rows["2 processes foretold"]["efficiency"] < 1
    assert written["bandwidth_gb_per_s"]["measured"] > 0
    averaged = rows["64 processes foretold"]["average_s"]
    bandwidth = written["bandwidth_gb_per_s"]["measured"] * 1e9
    assert averaged == pytest.approx(2 * 63 / 64 * written["bytes"] / bandwidth)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "--variants", "fastest"), "--variants: unknown value 'fastest'"),
        (("train", "--size", "33"), "33 is not a multiple of 4"),
        (("train", "--generator", "unet_256"), "--generator: unknown value 'unet_256'"),
        (("translate", "--model", "nowhere.safetensors"), "does not exist"),
        (("translate", "--source", str(Path(__file__).parent)), "--source: there are 0 pictures, 20 are needed"),
        (("data", "--variants", "tape"), "--variants: unknown value 'tape'"),
        (("scale", "--processes", "two"), "'two' is not whole numbers"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistake_is_a_sentence_before_anything_is_measured(
    arguments: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    outcome = run(*arguments, "--json", str(tmp_path / "record.json"))
    assert outcome.exit_code == 2, outcome.output
    assert words in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert not list(tmp_path.iterdir())


class Fragile:
    """What may happen to a process that measures."""

    def __init__(self, sound: bool) -> None:
        if not sound:
            raise UsageError("--made: it could not be made")

    def refuse(self) -> None:
        """A mistake of the user's."""
        raise CycleganError("it could not be done")

    def stumble(self) -> None:
        """A mistake of the programmer's."""
        assert not self

    def die(self) -> None:
        """As when the system wants the memory back."""
        os._exit(9)


@pytest.mark.process
def test_what_goes_wrong_in_a_measuring_process_is_raised_in_this_one() -> None:
    with Seat(Fragile, False) as unmade, Seat(Fragile, True) as seat:
        with pytest.raises(UsageError, match="it could not be made"):
            unmade.call("refuse")
        with pytest.raises(CycleganError, match="it could not be done"):
            seat.call("refuse")
        with pytest.raises(RuntimeError, match="assert not self"):
            seat.call("stumble")
        with pytest.raises(CycleganError, match=r"ended by itself \(exit code 9\)"):
            seat.call("die")
