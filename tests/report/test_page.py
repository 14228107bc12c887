"""The page of a run: all that the run has, nothing that is not in the file."""

from __future__ import annotations

import builtins
import html
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cyclegan.directions import Direction
from cyclegan.errors import CycleganError
from cyclegan.figures import EQUILIBRIUM, wilson
from cyclegan.losses import ADVERSARIAL_LOSSES
from cyclegan.report import page, write_report
from cyclegan.report import text as telling
from cyclegan.report.images import GRIDS
from cyclegan.report.run_record import read_record
from cyclegan.report.tables import columns, table
from tests.report.examples import begun, figures, finished, grid, journal, protocol, row


def text_of(run: Path) -> str:
    return write_report(run).read_text(encoding="utf-8")


def seen(text: str) -> str:
    """What a page says, without its elements, style and script."""
    text = re.sub(r"<(style|script)\b.*?</\1>", "", text, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def frames(text: str) -> list[dict[str, Any]]:
    found = re.search(r'id="frames">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_it_says_what_became_of_the_run(tmp_path: Path) -> None:
    said = seen(text_of(finished(tmp_path / "run")))
    for words in (
        "75 % of the translated pictures are taken for zebras",
        "untranslated horses 4 % · real zebras 97 % · 95 % interval with 16 pictures: 51 % to 90 %",
        "Best by kid_ab, step 50: 80 %",
        "100 steps · 50 s of training",
        "1 alarm",
        "step 70 Nothing changes The generators copy their input.",
        "horses 60 16 3 all that the type can hold",
        "zebras 61 17 3",
        "crop-size 16 not 256",
        "lambda-cycle 10.0",
        "cyclegan train --a 'my horses' --b zebras",
        "Git commit 0123456789abcdef",
        "Data fingerprint fedcba",
        "torch 2.15.0",
        "Judge 95 % of other real pictures right",
        "> 99 % 0.jpg",
        "< 1 % 2.jpg",
    ):
        assert words in said, words


def test_nothing_in_it_is_loaded_from_anywhere(tmp_path: Path) -> None:
    text = text_of(finished(tmp_path / "run"))
    addresses = re.findall(r'(?:src|href|srcset|action|data)="([^"]*)"', text) + re.findall(r"url\(([^)]*)\)", text)
    assert {address.partition(",")[0].partition("-")[0] for address in addresses if not address.startswith("#")} <= {
        *("data:", "data:image/webp;base64", "data:image/jpeg;base64")
    }
    assert "@import" not in text
    assert not re.search(r"https?://(?!www\.w3\.org/)", text)


def test_the_grids_are_in_it_in_the_order_of_the_steps(tmp_path: Path) -> None:
    found = frames(text_of(finished(tmp_path / "run")))
    assert [frame["step"] for frame in found] == [0, 50, 100]
    assert len({frame["a2b"] for frame in found}) == 3


def test_the_columns_of_a_grid_are_those_that_its_row_names_and_of_an_older_run_those_of_its_width(
    tmp_path: Path,
) -> None:
    run = begun(tmp_path / "run")
    grid(run / "samples" / "one.png", 90, columns=3)
    named = {"columns/samples/a2b": "real, fake, truth & more"}
    for more, headings in (({}, ["real", "fake", "reconstructed"]), (named, ["real", "fake", "truth &amp; more"])):
        journal(run / "metrics.jsonl", [row(10, **{"samples/a2b": "samples/one.png"}, **more)])
        text = text_of(run)
        assert (
            re.findall("<span>(.*?)</span>", text.partition('class="headings"')[2].partition("</div>")[0]) == headings
        )


def test_of_many_grids_it_takes_some_with_the_first_and_the_last(tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    grid(run / "samples" / "one.png", 90)
    journal(run / "metrics.jsonl", [row(step, **{"samples/a2b": "samples/one.png"}) for step in range(0, 1001, 10)])
    text = text_of(run)
    steps = [frame["step"] for frame in frames(text)]
    assert (len(steps), steps[0], steps[-1]) == (GRIDS, 0, 1000)
    assert "40 of 101 grids are shown" in seen(text)


def test_names_are_text_whatever_they_are(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    run = finished(tmp_path / "run & <b>", a=f"/x/{evil[:8]}", b="/x/'\"&amp;$x_1$", evil=evil)
    meta = json.loads((run / "meta.json").read_text())
    meta |= {"command": ["cyclegan", "train", "--a", "</pre><script>x</script>"], "platform": evil}
    (run / "meta.json").write_text(json.dumps(meta))
    gallery = json.loads((run / "gallery" / "gallery.json").read_text())
    gallery["ab"][0]["name"] = '"><script>'
    (run / "gallery" / "gallery.json").write_text(json.dumps(gallery))
    with open(run / "metrics.jsonl", "a") as stream:
        stream.write(json.dumps(row(80, **{f"alarm/{evil}": evil, f"loss/{evil}_a": 1.0, f"{evil}/x": 2.0})) + "\n")
        for name in ("</script><script>alert(2)</script>", "a2b"):
            stream.write(json.dumps(row(80, **{f"samples/{name}": "samples/a2b-00000000.png"})) + "\n")
    text = text_of(run)
    assert len(re.findall("<script", text)) == 2  # the frames and the one of the page
    assert text.count("</script>") == 2
    assert "<b>" not in text.partition("<h1>")[2].partition("</h1>")[0]
    assert "'\"&amp;$x_1$" in seen(text)


def test_a_run_that_has_just_begun_has_a_page(tmp_path: Path) -> None:
    said = seen(text_of(begun(tmp_path / "run")))
    for words in ("running", "step 0 of 100", "Not judged yet.", "Alarms None.", "horses 60 16"):
        assert words in said, words
    for words in ("Samples", "Figures", "Curves", "Best and worst"):
        assert words not in said, words


@pytest.mark.parametrize("left", ["config.yaml", "status.json", "metrics.jsonl"])
def test_a_single_file_of_a_run_is_enough(tmp_path: Path, left: str) -> None:
    run = finished(tmp_path / "run")
    for path in run.iterdir():
        if path.name != left:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    text_of(run)


JUNK: list[Any] = [None, "x", [1], {"step": "x", "value": [], "figures": 3}, 1e999, True]


@pytest.mark.slow
@pytest.mark.parametrize("junk", JUNK, ids=repr)
def test_values_of_no_sense_are_no_end(tmp_path: Path, junk: Any) -> None:
    run = finished(tmp_path / "run")
    for name in ("meta.json", "status.json", "pictures.json", "evaluation.json", "best.json", "gallery/gallery.json"):
        values = json.loads((run / name).read_text())
        (run / name).write_text(json.dumps(dict.fromkeys([*values, "new"], junk)))
    (run / "config.yaml").write_text(
        json.dumps(dict.fromkeys(["a", "b", "data", "batch_size", "steps", "crop_size"], junk))
    )
    text_of(run)
    (run / "evaluation.json").write_text(
        json.dumps({"metrics": {"kid_ab": junk, "x": junk}, "protocol": protocol(judge=junk)})
    )
    (run / "gallery" / "gallery.json").write_text(
        json.dumps({"count": junk, "ab": [junk, {"source": junk}], "ba": junk})
    )
    text_of(run)


def test_damaged_pictures_are_left_out(tmp_path: Path) -> None:
    run = finished(tmp_path / "run")
    for path in run.rglob("*-00000050.png"):
        path.write_bytes(path.read_bytes()[:60])
    (run / "gallery" / "ab-000-fake.png").write_bytes(b"")
    text = text_of(run)
    assert [frame["step"] for frame in frames(text)] == [0, 100]
    assert seen(text).count("0.jpg") == 1


def test_why_a_run_ended_is_said(tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    for status, word in (("failed", "failed"), ("preempted", "stopped"), ("strange", "unknown")):
        (run / "status.json").write_text(
            json.dumps({"status": status, "step": 40, "steps": 100, "reason": "disk full"})
        )
        said = seen(text_of(run))
        assert said.startswith(f"run · horses ⇄ zebras {word} run")
        assert "disk full" in said


def test_a_judge_that_is_not_sure_is_no_judge(tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    for accuracy, doubted in ((0.74, True), (0.76, False)):
        judge = {"accuracy": accuracy, "sha256": "d" * 64}
        (run / "evaluation.json").write_text(json.dumps({"metrics": figures(), "protocol": protocol(judge=judge)}))
        assert ("its verdict means little" in seen(text_of(run))) == doubted


def test_the_better_of_last_and_best_is_marked_where_they_compare(tmp_path: Path) -> None:
    run = finished(tmp_path / "run")
    record = read_record(run)
    assert not any(
        win for row in table(Direction("a", "b"), columns(record)) for _, win in row["cells"]
    )  # measured otherwise
    best = {"kid_ab": {"metrics": figures(0.8, 0.02), "protocol": protocol()}}
    (run / "evaluation.json").write_text(json.dumps({"metrics": figures(), "protocol": protocol(), "best": best}))
    record = read_record(run)
    rows: Mapping[str, Any] = {row["label"]: row for row in table(Direction("a", "b"), columns(record))}
    assert rows["KID"]["cells"] == [("0.0500 ± 0.0100", False), ("0.0200 ± 0.0100", True)]
    assert rows["Taken for the target"]["cells"] == [("75 %", False), ("80 %", True)]
    assert rows["Cycle L1"]["cells"] == [("12.50", False), ("12.50", False)]
    measured = {"metrics": figures(), "intervals": {"kid_ab": [-0.03, 0.07], "judge_ab": [0.5, 0.9]}}
    best["kid_ab"]["intervals"] = {"kid_ab": "damaged"}
    (run / "evaluation.json").write_text(json.dumps({**measured, "protocol": protocol(), "best": best}))
    rows = {row["label"]: row for row in table(Direction("a", "b"), columns(read_record(run)))}
    assert rows["KID"]["cells"] == [("0.0500 (−0.0300 to 0.0700)", False), ("0.0200 ± 0.0100", True)]
    assert rows["Taken for the target"]["cells"][0] == ("75 % (50 to 90 %)", False)
    assert (rows["KID"]["real"], rows["KID"]["untranslated"]) == ("0.0020", "0.4000")
    assert "Luminance correlation" not in rows  # not measured


@pytest.mark.slow
def test_the_equilibrium_is_that_of_the_record_and_of_an_older_run_that_of_its_loss(tmp_path: Path) -> None:
    equilibria = {name: kind.equilibrium for name, kind in ADVERSARIAL_LOSSES.items() if kind.equilibrium is not None}
    assert equilibria == EQUILIBRIUM
    run = finished(tmp_path / "run")
    for said, shown in (({}, "0.5"), ({"equilibrium": 0.25}, "0.25"), ({"equilibrium": None}, None)):
        (run / "meta.json").write_text(json.dumps(json.loads((run / "meta.json").read_text()) | said))
        assert ("the equilibrium" in text_of(run)) == (shown is not None)
        assert shown is None or f"the equilibrium, {shown}, where" in text_of(run)


@pytest.mark.parametrize(
    ("keys", "route"), [(["ab"], "horses → zebras"), (["zb"], "noise → zebras"), (["ab", "ba"], "horses ⇄ zebras")]
)
def test_a_page_is_about_the_directions_that_the_run_has(tmp_path: Path, keys: list[str], route: str) -> None:
    run = finished(tmp_path / "run")
    (run / "meta.json").write_text(json.dumps(json.loads((run / "meta.json").read_text()) | {"directions": keys}))
    measured = {f"{name}_{key}": 0.5 for name in ("judge", "kid", "kid_real") for key in keys}
    (run / "evaluation.json").write_text(json.dumps({"metrics": measured, "protocol": protocol()}))
    text = text_of(run)
    assert f"<title>run · {route}</title>" in text
    captions = re.findall("<caption>(.*?)</caption>", text)
    assert captions == [route] if len(keys) == 1 else captions == ["horses → zebras", "zebras → horses"]
    assert text.count('class="verdict"') == len(keys)
    assert ("horses" in seen(text).partition("Configuration")[0].replace("my horses", "")) == (keys != ["zb"])


def test_the_interval_of_a_share_is_wilsons() -> None:
    # By hand for 8 of 10 and z = 1.96
    assert wilson(0.8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(1.0, 16) == (pytest.approx(0.8064, abs=1e-4), pytest.approx(1))


def test_intervals_are_bands_of_the_curves_and_cells_and_no_curves_of_their_own(tmp_path: Path) -> None:
    run = finished(tmp_path / "run")
    plain = text_of(run)
    rows = [
        row(step, **{f"interval/kid_ab_{end}": value for end, value in (("low", -0.5), ("high", 1.5))})
        for step in (0, 50, 100)
    ]
    with (run / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps(values) + "\n" for values in rows)
    text = text_of(run)
    assert "Shaded: 95 % intervals." in seen(text)
    assert "Shaded" not in seen(plain)
    assert "interval/" not in text
    assert text.count("<figcaption") == plain.count("<figcaption")
    (run / "evaluation.json").unlink()
    (row_of_kid,) = (it for it in table(Direction("a", "b"), columns(read_record(run))) if it["label"] == "KID")
    assert row_of_kid["cells"][0][0].endswith("(−0.5000 to 1.5000)")


def test_the_best_by_the_mean_of_both_directions_is_ringed_in_both(tmp_path: Path) -> None:
    run = finished(tmp_path / "run")
    best = {"step": 50, "value": 0.5, "figures": {"kid_ab": 0.25, "kid_ba": 0.75}}
    (run / "best.json").write_text(json.dumps({"kid": best}))
    text = text_of(run)
    for value in ("0.25", "0.75"):
        assert f"best {value} at step 50" in text


def test_what_the_judge_takes_for_neither_stands_beside_the_share(tmp_path: Path) -> None:
    run = finished(tmp_path / "run")
    assert "neither 18 %" not in seen(text_of(run))
    evaluation = json.loads((run / "evaluation.json").read_text())
    evaluation["metrics"]["neither_ab"] = 0.18
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    assert "neither 18 % · untranslated" in seen(text_of(run))


def test_without_an_evaluation_file_the_verdict_is_that_of_the_last_evaluation_in_training(tmp_path: Path) -> None:
    run = finished(tmp_path / "run")
    (run / "evaluation.json").unlink()
    said = seen(text_of(run))
    assert "50 % of the translated pictures are taken for zebras" in said
    assert "95 % interval with 12 pictures: 25 % to 75 %" in said


def test_times_are_written_for_people() -> None:
    assert [telling.duration(seconds) for seconds in (9.6, 75, 4830)] == ["10 s", "1 min 15 s", "1 h 20 min"]
    assert [telling.plain(value) for value in (True, 1, None, "", 0.5)] == ["true", "1", "none", "–", "0.5"]


@pytest.mark.parametrize("missing", ["jinja2", "matplotlib"])
def test_a_missing_library_is_a_sentence(tmp_path: Path, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begun(tmp_path / "run")
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == missing:
            raise ImportError(f"No module named {name!r}", name=name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(CycleganError, match=rf"needs {missing}.*pip install 'cyclegan\[report\]'"):
        write_report(run)
    assert not (run / "report.html").exists()


def test_a_page_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    (tmp_path / "file").write_text("")
    with pytest.raises(CycleganError, match="--output: cannot write"):
        write_report(run, tmp_path / "file" / "report.html")


def test_the_policy_names_the_script_that_is_there(tmp_path: Path) -> None:
    text = text_of(begun(tmp_path / "run"))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    script = (page._TEMPLATES / "page.js").read_text()
    assert f"<script>{script}</script>" in text
