"""Jobs in parts: each takes its own, and together they make what the whole does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cyclegan.errors import CycleganError, UsageError
from cyclegan.system.files import locked
from cyclegan.translation import Summary, Translator, translate_folder
from cyclegan.translation.job.naming import Shard
from tests.support.run_files import read_rows
from tests.translation.examples import Weighted, files, fp32, picture


def test_parts_of_a_job_make_together_what_the_whole_does(
    tmp_path: Path, negative: Translator, run: Callable[..., Summary]
) -> None:
    (tmp_path / "in/bad.png").write_text("no picture")
    parts = [run(negative, shard=Shard(number, 3)) for number in (1, 2, 3)]
    assert sum(part.translated for part in parts) == 8
    assert [part.skipped for part in parts] == [0, 0, 0]
    assert sum(len(part.failed) for part in parts) == 1
    parted = {name: (tmp_path / "out" / name).read_bytes() for name in files(tmp_path / "out")}
    translate_folder(negative, tmp_path / "in", tmp_path / "whole")
    assert parted == {name: (tmp_path / "whole" / name).read_bytes() for name in files(tmp_path / "whole")}
    number = next(number for number in (1, 2, 3) if Shard(number, 3).holds("bad.png"))
    assert [row["path"] for row in read_rows(tmp_path / f"out/.cyclegan/failed-{number}of3.jsonl")] == ["bad.png"]
    manifests = [read_rows(tmp_path / f"out/.cyclegan/manifest-{number}of3.jsonl") for number in (1, 2, 3)]
    assert sum(map(len, manifests)) == 9
    assert run(negative).skipped == 8  # and the whole takes what the parts have made


def test_parts_may_be_under_way_at_the_same_time_and_one_of_them_only_once(
    tmp_path: Path, negative: Translator, run: Callable[..., Summary]
) -> None:
    run(negative, shard=Shard(1, 3))
    with locked(tmp_path / "out/.cyclegan", "lock-1of3"):
        with pytest.raises(CycleganError, match=r"is in use by process \d+ on"):
            run(negative, shard=Shard(1, 3))
        assert run(negative, shard=Shard(2, 3)).failed == []
        assert run(negative, shard=Shard(3, 3)).failed == []


def test_parts_of_another_model_replace_a_whole_when_all_are_done(tmp_path: Path, run: Callable[..., Summary]) -> None:
    old, new = fp32(Weighted(1.0)), fp32(Weighted(0.5))
    run(old)
    with pytest.raises(UsageError, match="another MODEL"):
        run(new, shard=Shard(1, 2))
    run(new, shard=Shard(1, 2), overwrite=True)
    with pytest.raises(UsageError, match="another MODEL"):  # half of each is there
        run(new)
    with pytest.raises(UsageError, match="another MODEL"):
        run(old)
    run(new, shard=Shard(2, 2), overwrite=True)
    assert run(new).skipped == 8


def test_a_part_does_not_take_files_for_its_own_that_another_part_cannot_have_made(
    tmp_path: Path, negative: Translator, run: Callable[..., Summary]
) -> None:
    run(negative, shard=Shard(1, 2))
    other = next(name for name in map(str, range(8)) if Shard(2, 2).holds(f"{name}.png"))
    picture(tmp_path / f"out/{other}.png")
    with pytest.raises(UsageError, match="no record of what made it"):
        run(negative, shard=Shard(2, 2))


def test_a_part_does_not_take_what_a_whole_that_overwrites_has_not_reached(
    tmp_path: Path, run: Callable[..., Summary]
) -> None:
    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    run(fp32(Weighted(1.0)))
    new = fp32(Weighted(0.5))
    with pytest.raises(KeyboardInterrupt):
        run(new, overwrite=True, batch_size=1, on_progress=stop)
    with pytest.raises(UsageError, match="are being made again by --overwrite and not all are"):
        run(new, shard=Shard(1, 2))
