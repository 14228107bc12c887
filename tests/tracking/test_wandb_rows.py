"""What evaluations, alarms, galleries and the best generators become in Weights & Biases, with the real client."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cyclegan.tracking import Tracker
from cyclegan.tracking.wandb_launcher import sync_command, upload_command
from tests.fake_wandb import Service
from tests.support.run_files import read_metrics
from tests.tracking.sessions import ID, shell, track

pytestmark = pytest.mark.slow

INVERTED = "colours-inverted"


def evaluate(tracker: Tracker, run: Path, step: int, kid: float) -> None:
    """What a look at held-out pictures leaves behind; the file of the best is one and the same."""
    tracker.log(step, {"evaluation/kid_ab": kid, "evaluation/judge_ab": 1 - kid})
    if kid <= min(kids(run)):
        best = run / "best-kid.safetensors"
        best.write_bytes(b"weights of step %d" % step)
        tracker.model(step, best, best=True)


def kids(run: Path) -> list[float]:
    rows = read_metrics(run)
    return [row["evaluation/kid_ab"] for row in rows if "evaluation/kid_ab" in row]


def gallery(run: Path, step: int, count: int = 3) -> Path:
    """A folder as `cyclegan.evaluation.gallery` writes it; one picture of A has no reconstruction and no figures."""
    folder = run / "gallery"
    folder.mkdir(exist_ok=True)
    content: dict[str, Any] = {"step": step, "which": "last", "size": 8, "count": {"ab": count, "ba": 0}, "ba": []}
    content["ab"] = []
    for number in range(count):
        entry = {"name": f"horse{number}.jpg", "judge": 0.9 - number / 10, "cycle_l1": 7.5, "group": "best"}
        for role in ("source", "fake", "rec"):
            entry[role] = f"ab-{number:03d}-{role}.png"
            Image.fromarray(np.full((8, 8, 3), 40 * number + len(role), np.uint8)).save(folder / str(entry[role]))
        content["ab"].append(entry)
    content["ab"][-1] |= {"rec": None, "judge": None}
    (folder / "gallery.json").write_text(json.dumps(content))
    return folder / "gallery.json"


def alerts(service: Service) -> list[tuple[str, str, str]]:
    return [(alert["title"], alert["text"], alert["severity"]) for alert in service.alerts]


def uploaded(service: Service, content: bytes) -> int:
    return sum(held == content for held in service.uploads.values())


@pytest.fixture
def tracked(run: Path, service: Service) -> tuple[Path, Service]:
    return run, service


def test_an_alarm_is_an_alert_once_and_a_point_of_the_run(tracked: tuple[Path, Service]) -> None:
    run, service = tracked
    for resumed in (False, True):  # a resumed run computes the steps again, and raises again what it had raised
        tracker = track(run, "online", resumed=resumed)
        tracker.alarm(40, INVERTED, "Light and dark are swapped; give --lambda-identity 0.5.", -0.87)
        tracker.finish("preempted")
    said = "step 40: Light and dark are swapped; give --lambda-identity 0.5."
    assert alerts(service) == [("colours inverted", said, "WARN")]
    (point,) = service.history(ID)
    assert (point["trainer/step"], point[f"alarm_figure/{INVERTED}"]) == (40, -0.87)
    assert point[f"alarm/{INVERTED}"].startswith("Light and dark")
    assert service.unknown == []


def test_alarms_of_offline_sessions_reach_a_person_once_by_either_command(tracked: tuple[Path, Service]) -> None:
    run, service = tracked
    for session in range(2):
        tracker = track(run, "offline", resumed=session > 0)
        tracker.alarm(40, INVERTED, "first", -0.9)
        tracker.alarm(50 + session, "not-finite", "second", 3.0)
        tracker.finish()
    assert service.alerts == []
    shell(sync_command(run))
    shell(upload_command(run))
    assert [title for title, *_ in alerts(service)] == ["colours inverted", "not finite", "not finite"]
    assert len(service.history(ID)) == 3


def test_the_newest_best_takes_the_alias_and_equal_content_is_sent_once(tracked: tuple[Path, Service]) -> None:
    run, service = tracked
    tracker = track(run, "online")
    evaluate(tracker, run, 20, 0.3)
    tracker.finish()
    assert service.versions(f"generators-{ID}") == [
        {"best", "latest", "step-20"}
    ]  # the client calls all of them latest

    tracker = track(run, "online", resumed=True)
    evaluate(tracker, run, 20, 0.3)  # computed again
    evaluate(tracker, run, 30, 0.4)
    tracker.finish()
    assert service.versions(f"generators-{ID}") == [{"best", "latest", "step-20"}]

    tracker = track(run, "online", resumed=True)
    evaluate(tracker, run, 40, 0.2)
    last = run / "generators-00000040.safetensors"
    last.write_bytes((run / "best-kid.safetensors").read_bytes())
    tracker.model(40, last)
    tracker.finish()
    assert service.versions(f"generators-{ID}") == [{"step-20"}, {"latest", "best", "step-40"}]
    assert [uploaded(service, b"weights of step %d" % step) for step in (20, 30, 40)] == [1, 0, 1]
    newest = json.loads(service.artifacts[service.committed[-1]]["metadata"])
    assert newest == {"step": 40, "evaluation/kid_ab": 0.2, "evaluation/judge_ab": 0.8}


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_of_the_best_that_went_untracked_only_those_that_are_left_are_sent(
    tracked: tuple[Path, Service], mode: str
) -> None:
    run, service = tracked
    tracker = track(run, "disabled")
    for step, kid in ((10, 0.5), (20, 0.3), (30, 0.4)):
        evaluate(tracker, run, step, kid)
    last = run / "generators-00000030.safetensors"
    last.write_bytes(b"weights of step 30")
    tracker.model(30, last)
    tracker.finish()
    track(run, mode, resumed=True).finish()
    if mode == "offline":
        shell(sync_command(run))
    assert service.versions(f"generators-{ID}") == [{"best", "step-20"}, {"latest", "step-30"}]
    assert [uploaded(service, b"weights of step %d" % step) for step in (10, 20, 30)] == [0, 1, 1]


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_the_summary_holds_least_greatest_and_last_of_each_evaluation_over_all_sessions(
    tracked: tuple[Path, Service], mode: str
) -> None:
    run, service = tracked
    tracker = track(run, mode)
    for step, kid in ((10, 0.9), (20, 0.1), (30, float("nan"))):
        tracker.log(step, {"evaluation/kid_ab": kid})
        tracker.log(step, {"loss/cycle_a": step / 2})
    tracker.finish("preempted")
    tracker = track(run, mode, resumed=True)
    tracker.log(40, {"evaluation/kid_ab": 0.5})
    tracker.log(40, {"loss/cycle_a": 20.0})
    tracker.finish()
    if mode == "offline":
        shell(sync_command(run))
    summary = json.loads(service.runs[ID].file("wandb-summary.json")[-1])
    assert summary["evaluation/kid_ab"] == {"min": 0.1, "max": 0.9, "last": 0.5}
    assert summary["loss/cycle_a"] == 20  # a curve keeps its newest value, as before
    axes = json.loads(service.runs[ID].config)["_wandb"]["value"]["m"]
    assert {metric.get("1", metric.get("2")) for metric in axes} == {"trainer/step", "*"}


def test_held_out_pictures_become_a_table_of_input_output_reconstruction_and_figures(
    tracked: tuple[Path, Service],
) -> None:
    run, service = tracked
    tracker = track(run, "online")
    tracker.table(30, gallery(run, 30))
    tracker.finish()
    (point,) = service.history(ID)
    assert point["trainer/step"] == 30
    assert (point["held-out/ab"]["nrows"], "held-out/ba" in point) == (3, False)
    (address,) = (address for address in service.uploads if address.endswith("ab.table.json") and "artifact" in address)
    table = json.loads(service.uploads[address])
    figures = ["judge", "cycle_l1", "group"]
    assert table["columns"] == ["name", "direction", "input", "output", "reconstruction", *figures]
    first, _, last = table["data"]
    assert (first[:2], first[5:]) == (["horse0.jpg", "ab"], [0.9, 7.5, "best"])
    assert (last[4], last[5]) == (None, None)
    pictures = [first[2]["path"], first[3]["path"], first[4]["path"]]
    assert len(set(pictures)) == 3
    for picture in pictures:
        assert sum(address.endswith(picture) for address in service.uploads) == 1
    assert service.unknown == []


@pytest.mark.parametrize("fault", ["gone", "newer", "damaged", "pictures gone"])
def test_a_gallery_that_is_not_there_any_more_costs_its_table_and_no_point(
    tracked: tuple[Path, Service], fault: str
) -> None:
    run, service = tracked
    path = gallery(run, 30)
    tracker = track(run, "disabled")
    tracker.log(10, {"loss/cycle_a": 5.0})
    tracker.table(30, path)
    tracker.log(40, {"loss/cycle_a": 1.0})
    tracker.finish()
    {
        "gone": path.unlink,
        "newer": lambda: gallery(run, 60),
        "damaged": lambda: path.write_text("[{"),
        "pictures gone": lambda: [picture.unlink() for picture in path.parent.glob("*.png")],
    }[fault]()
    track(run, "online", resumed=True).finish()
    history = service.history(ID)
    assert [row["trainer/step"] for row in history] == [10, 30, 40], "the count of rows is what a resume goes by"
    assert ("held-out/ab" in history[1]) == (fault == "pictures gone")
    track(run, "online", resumed=True).finish()
    assert len(service.history(ID)) == 3
