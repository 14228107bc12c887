import copy
import multiprocessing
import os
import pickle
import random
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cyclegan.config import TrainConfig
from cyclegan.data import dataset as datasets
from cyclegan.data.dataset import build_loader
from cyclegan.data.held_out import held_out_pictures
from cyclegan.data.kinds import PLAIN
from cyclegan.data.pairing import Request, StepSampler, Unpaired
from cyclegan.data.sets import PictureSets, find_sets, in_hash_order
from cyclegan.errors import CycleganError, UsageError
from cyclegan.images import Picture, read_image, read_picture
from tests.support.batches import Batch, batch_bytes, load_batches, load_bytes

Folder = Callable[..., Path]


@pytest.fixture
def config(folder: Folder) -> TrainConfig:
    a, b = folder("horses", 13, size=24), folder("zebras", 10, size=20)
    return TrainConfig(a=str(a), b=str(b), load_size=20, crop_size=16, workers=0, seed=3, holdout=0)


def test_a_batch_is_bytes_of_both_domains(config: TrainConfig) -> None:
    (batch,) = load_batches(replace(config, batch_size=3), stop=1)
    for name in ("a", "b"):
        assert batch[name].shape == (3, 3, 16, 16)
        assert batch[name].dtype == torch.uint8
        assert batch[name].is_contiguous()
    assert batch["unreadable"] == []
    assert batch["enlarged"] == []


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_no_pixel(workers: int, config: TrainConfig) -> None:
    alone = load_bytes(config)
    assert len(set(alone)) == 12
    assert load_bytes(replace(config, workers=workers)) == alone


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_resumed_in_mid_epoch_goes_on_with_the_same_pixels(workers: int, config: TrainConfig) -> None:
    config = replace(config, workers=workers, batch_size=2)
    assert load_bytes(config, start=5) == load_bytes(config)[5:]


def test_two_ranks_see_what_one_process_sees(config: TrainConfig) -> None:
    config = replace(config, batch_size=4)
    whole = load_batches(config)
    ranks = [load_batches(config, rank=rank, world=2) for rank in range(2)]
    for batch, *parts in zip(whole, *ranks, strict=True):
        for name in ("a", "b"):
            assert torch.equal(batch[name], torch.cat([part[name] for part in parts]))


@pytest.mark.parametrize("cache", ["ram", "disk"])
@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("start", [0, 17])
def test_what_a_step_sees_does_not_depend_on_the_cache(
    cache: str, workers: int, start: int, config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CYCLEGAN_CACHE", str(tmp_path / "cache"))
    root = Path(config.a or "")
    Image.new("RGB", (30, 9), "red").save(root / "000.png")
    (root / "005.png").write_bytes(b"dear diary")
    config = replace(config, batch_size=2)
    expected = load_batches(replace(config, cache="off"), start=start, stop=45)
    found = load_batches(replace(config, cache=cache, workers=workers), start=start, stop=45)
    assert batch_bytes(found) == batch_bytes(expected)
    for name in ("enlarged", "unreadable"):
        assert [batch[name] for batch in found] == [batch[name] for batch in expected]
        assert any(batch[name] for batch in found[14:])


@pytest.mark.parametrize("cache", ["ram", "disk"])
@pytest.mark.parametrize("workers", [0, 2])
def test_in_the_second_epoch_nothing_is_decoded(
    cache: str, workers: int, config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CYCLEGAN_CACHE", str(tmp_path / "cache"))
    record = tmp_path / "decoded"

    def decoding(path: Path, **options: int | None) -> Picture:
        with open(record, "a") as stream:
            stream.write(f"{path}\n")
        return read_picture(path, **options)

    monkeypatch.setattr(datasets, "read_picture", decoding)
    loader = build_loader(
        replace(config, cache=cache, workers=workers), find_sets(config, ("a", "b"), "unpaired"), start=0, stop=500
    )
    stream = iter(loader)
    for _ in range(200):  # 15 epochs, and at most 98 steps more are under way
        next(stream)
    once = record.read_text()
    assert set(once.splitlines()) == {str(path) for folder in (config.a, config.b) for path in Path(folder).iterdir()}
    assert len(list(stream)) == 300
    assert record.read_text() == once


@pytest.mark.process
def test_a_batch_that_is_kept_stays_as_it_was(config: TrainConfig) -> None:
    kept = list(build_loader(replace(config, workers=1), find_sets(config, ("a", "b"), "unpaired"), start=0, stop=150))
    assert batch_bytes(kept) == load_bytes(config, stop=150)


@pytest.mark.process
def test_two_iterations_at_once_do_not_disturb_each_other(config: TrainConfig) -> None:
    loader = build_loader(replace(config, workers=1), find_sets(config, ("a", "b"), "unpaired"), start=0, stop=40)
    pairs = [batch_bytes(list(pair)) for pair in zip(loader, loader, strict=True)]
    assert pairs == [[alone, alone] for alone in load_bytes(config, stop=40)]


@pytest.mark.process
def test_each_iteration_takes_slots_of_its_own(config: TrainConfig) -> None:
    loader = build_loader(replace(config, workers=1), find_sets(config, ("a", "b"), "unpaired"), start=0, stop=9)
    first, second = iter(loader), iter(loader)
    one, other = next(first), next(second)
    assert torch.equal(one["a"], other["a"])
    assert one["a"].untyped_storage().data_ptr() != other["a"].untyped_storage().data_ptr()


@pytest.mark.parametrize("workers", [0, 1])
def test_what_is_to_be_pinned_is_pinned_whole_and_then_cut(
    workers: int, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned: list[torch.Tensor] = []

    def pin(tensor: torch.Tensor) -> torch.Tensor:  # what needs a GPU
        pinned.append(tensor.clone())
        return pinned[-1]

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    domains = find_sets(config, ("a", "b"), "unpaired")
    found = list(build_loader(replace(config, workers=workers), domains, start=0, stop=12, pin=True))
    assert batch_bytes(found) == load_bytes(config)
    memory = {whole.untyped_storage().data_ptr() for whole in pinned}
    assert {batch[name].untyped_storage().data_ptr() for batch in found for name in "ab"} == memory
    assert sum(len(whole) for whole in pinned) == 12


@pytest.mark.process
def test_without_memory_to_share_the_pixels_arrive_all_the_same(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*arguments: object) -> None:
        raise OSError

    monkeypatch.setattr(datasets, "SharedBuffers", refused)
    assert load_bytes(replace(config, workers=1)) == load_bytes(config)


def test_the_length_of_a_loader_is_the_number_of_its_steps(config: TrainConfig) -> None:
    assert (
        len(build_loader(replace(config, workers=2), find_sets(config, ("a", "b"), "unpaired"), start=3, stop=40)) == 37
    )


def test_a_batch_that_does_not_divide_among_the_ranks_is_refused(config: TrainConfig) -> None:
    with pytest.raises(UsageError, match="--batch-size 3 does not divide among 2"):
        load_batches(replace(config, batch_size=3), world=2)


def test_a_second_epoch_cuts_and_mirrors_anew(config: TrainConfig) -> None:
    found = load_batches(replace(config, batch_size=13), stop=2)
    first, second = ({image.numpy().tobytes() for image in batch["a"]} for batch in found)
    assert len(first & second) <= 2


def test_the_two_domains_are_cut_independently(folder: Folder) -> None:
    a = folder("same", 1, size=40)
    b = folder("other", 1, size=40)
    (b / "000.png").write_bytes((a / "000.png").read_bytes())
    config = TrainConfig(a=str(a), b=str(b), load_size=40, crop_size=16, workers=0)
    assert sum(torch.equal(batch["a"], batch["b"]) for batch in load_batches(config)) <= 1


@pytest.mark.parametrize("workers", [0, 2])
def test_the_global_random_state_is_left_alone(workers: int, config: TrainConfig) -> None:
    states = torch.get_rng_state(), copy.deepcopy(np.random.get_state()), random.getstate()  # noqa: NPY002
    load_batches(replace(config, workers=workers))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1][1])  # noqa: NPY002
    assert random.getstate() == states[2]


@pytest.mark.slow
@pytest.mark.long
def test_spawned_workers_work_too(config: TrainConfig) -> None:
    loader = build_loader(replace(config, workers=1), find_sets(config, ("a", "b"), "unpaired"), start=0, stop=3)
    loader.multiprocessing_context = "spawn"
    assert batch_bytes(list(loader)) == load_bytes(config, stop=3)


@pytest.mark.process
def test_what_spawned_workers_need_pickles(config: TrainConfig) -> None:
    loader = build_loader(config, find_sets(config, ("a", "b"), "unpaired"), start=0, stop=3)
    dataset = pickle.loads(pickle.dumps(loader.dataset))
    request = Request(None, [next(iter(loader.steps))])
    assert np.array_equal(dataset[request].pictures, loader.dataset[request].pictures)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_picture_is_reported_and_replaced_by_the_next(workers: int, config: TrainConfig) -> None:
    victim = Path(config.a or "") / "004.png"
    whole = victim.read_bytes()
    good = load_batches(replace(config, batch_size=13, flip=False), stop=1)[0]
    victim.write_bytes(whole[: len(whole) // 2])
    found = load_batches(replace(config, batch_size=13, flip=False, workers=workers), stop=1)[0]
    ((path, reason),) = found["unreadable"]
    assert path == str(victim)
    assert "truncated" in reason
    changed = [index for index in range(13) if not torch.equal(found["a"][index], good["a"][index])]
    assert len(changed) == 1
    assert torch.equal(found["b"], good["b"])
    victim.write_bytes((victim.parent / "005.png").read_bytes())
    expected = load_batches(replace(config, batch_size=13, flip=False), stop=1)[0]
    assert torch.equal(found["a"], expected["a"])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_folder_of_which_nothing_can_be_read_is_one_sentence(workers: int, config: TrainConfig) -> None:
    for path in Path(config.b or "").iterdir():
        path.write_bytes(b"dear diary")
    with pytest.raises(CycleganError) as caught:
        load_batches(replace(config, workers=workers), stop=2)
    assert "none of the 10 training pictures" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_failure_is_raised_at_its_step(workers: int, config: TrainConfig, tmp_path: Path) -> None:
    Image.new("RGB", (40, 9), "red").save(Path(config.a or "") / "000.png")
    (tmp_path / "augment.yaml").write_text("- CenterCrop: {height: 16, width: 16}")
    config = replace(config, augment=str(tmp_path / "augment.yaml"))
    stream = iter(
        build_loader(replace(config, workers=workers), find_sets(config, ("a", "b"), "unpaired"), start=0, stop=13)
    )
    arrived: list[Batch] = []
    with pytest.raises(UsageError, match="fails on a picture of 40×9 pixels"):
        arrived.extend(stream)
    assert multiprocessing.active_children() == []  # though the traceback still holds on to the frames
    sampler = StepSampler(Unpaired({"a": 13, "b": 10}, config.seed), batch_size=1, start=0, stop=13)
    order = [sample.indices[0] for (sample,) in sampler]
    assert len(arrived) == order.index(0) > 1


def test_pictures_smaller_than_the_crop_are_enlarged_and_reported(config: TrainConfig) -> None:
    small = Path(config.a or "") / "000.png"
    Image.new("RGB", (30, 9), "red").save(small)
    (batch,) = load_batches(replace(config, batch_size=13), stop=1)
    assert batch["enlarged"] == [(str(small), "30×9")]


def test_grey_palette_transparent_and_cmyk_pictures_join_the_others(config: TrainConfig) -> None:
    root = Path(config.a or "")
    for number, (mode, suffix) in enumerate(
        (("L", "png"), ("P", "gif"), ("RGBA", "png"), ("CMYK", "jpg"), ("1", "png"))
    ):
        (root / f"{number:03d}.png").unlink()
        Image.new(mode, (24, 24)).save(root / f"{number:03d}.{suffix}")
    (batch,) = load_batches(replace(config, batch_size=13), stop=1)
    assert batch["a"].shape == (13, 3, 16, 16)
    assert batch["unreadable"] == []


def domains_of(config: TrainConfig) -> PictureSets:
    return find_sets(replace(config, holdout=0.05), ("a", "b"), "unpaired")


def test_the_pictures_held_out_are_fixed_and_not_learnt_from(config: TrainConfig) -> None:
    domains = domains_of(config)
    a, b = held_out_pictures(domains, config, 4).values()
    assert a.shape == b.shape == (4, 3, 16, 16)
    assert a.dtype == torch.uint8
    again = held_out_pictures(domains, config, 4)
    assert torch.equal(a, again["a"])
    test = {name: read_image(domains.test["a"].root / name)[4:20, 4:20] for name in domains.test["a"].names}
    exact = held_out_pictures(domains, replace(config, load_size=24), 4)["a"]
    for picture in exact:
        assert any(np.array_equal(picture.permute(1, 2, 0).numpy(), pixels) for pixels in test.values())


def test_fewer_held_out_pictures_than_asked_for_are_all_shown(config: TrainConfig) -> None:
    domains = domains_of(config)
    a, b = held_out_pictures(domains, config, 100).values()
    assert (len(a), len(b)) == (len(domains.test["a"]), len(domains.test["b"])) == (6, 5)


def test_without_held_out_pictures_those_of_training_are_shown(config: TrainConfig) -> None:
    a, b = held_out_pictures(find_sets(config, ("a", "b"), "unpaired"), config, 100).values()
    assert (len(a), len(b)) == (13, 10)


def test_unreadable_held_out_pictures_are_passed_over_and_none_is_an_error(config: TrainConfig) -> None:
    domains = domains_of(config)
    first, *others = domains.test["a"].names
    (domains.test["a"].root / first).write_bytes(b"")
    assert len(held_out_pictures(domains, config, 100)["a"]) == len(others)
    for name in others:
        (domains.test["a"].root / name).write_bytes(b"")
    with pytest.raises(CycleganError, match="the file is empty"):
        held_out_pictures(domains, config, 4)


@pytest.mark.process
def test_workers_leave_interrupts_to_the_training_process(config: TrainConfig) -> None:
    loader = iter(build_loader(replace(config, workers=2), find_sets(config, ("a", "b"), "unpaired"), start=0, stop=40))
    first = [next(loader), next(loader)]  # one from each worker, so both are up
    workers = multiprocessing.active_children()
    assert len(workers) == 2
    for worker in workers:
        assert worker.pid
        os.kill(worker.pid, signal.SIGINT)
        os.kill(worker.pid, signal.SIGTERM)
    rest = list(loader)
    assert batch_bytes([*first, *rest]) == load_bytes(config, stop=40)


def deep(folder: Path, dtype: str, *channels: int) -> Path:
    """Five random .npy pictures of 24 × 26 pixels, with `channels` in turn."""
    folder.mkdir()
    for number in range(5):
        fractions = np.random.default_rng(number).random((24, 26, channels[number % len(channels)]))
        high = 1 if dtype == "float32" else np.iinfo(dtype).max
        np.save(folder / f"{number}.npy", (fractions * high).astype(dtype))
    return folder


@pytest.fixture(params=["uint16", "float32"])
def deep_config(request: pytest.FixtureRequest, tmp_path: Path) -> TrainConfig:
    a, b = deep(tmp_path / "deep-a", request.param, 5), deep(tmp_path / "deep-b", request.param, 1, 3)
    options = {"lambda_identity": 0.0}
    return TrainConfig(
        a=str(a), b=str(b), load_size=20, crop_size=16, workers=0, holdout=0, batch_size=2, options=options
    )


@pytest.mark.parametrize("cache", ["ram", "disk"])
@pytest.mark.parametrize("workers", [0, 2])
def test_deep_pictures_arrive_as_fractions_whatever_reads_and_keeps_them(
    cache: str, workers: int, deep_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CYCLEGAN_CACHE", str(tmp_path / "cache"))
    expected = load_batches(replace(deep_config, cache="off"))
    found = load_batches(replace(deep_config, cache=cache, workers=workers))
    assert batch_bytes(found) == batch_bytes(expected)
    for batch in found:
        assert (batch["a"].shape, batch["b"].shape) == ((2, 5, 16, 16), (2, 3, 16, 16))
        for name in "ab":
            assert batch[name].dtype == torch.float32
            assert batch[name].is_contiguous()
            assert 0 <= batch[name].min() < 0.2 < 0.8 < batch[name].max() <= 1
    grey = sum(bool((b[0] == b[1]).all() and (b[1] == b[2]).all()) for batch in found for b in batch["b"])
    assert 8 <= grey <= 20  # three of five


def test_pictures_of_16_bits_are_those_of_8_bits_but_for_the_rounding(config: TrainConfig, tmp_path: Path) -> None:
    for name in ("horses", "zebras"):
        (tmp_path / f"deep-{name}").mkdir()
        for path in (tmp_path / name).iterdir():
            np.save(tmp_path / f"deep-{name}" / path.stem, np.asarray(Image.open(path)).astype(np.uint16) * 257)
    deeper = replace(config, a=str(tmp_path / "deep-horses"), b=str(tmp_path / "deep-zebras"))
    for one, other in zip(load_batches(config), load_batches(deeper), strict=True):
        for name in "ab":
            assert (one[name] / 255 - other[name]).abs().max() < 0.51 / 255


def test_a_picture_that_does_not_suit_the_run_is_unreadable_with_the_reason(config: TrainConfig) -> None:
    root = Path(config.a or "")
    np.save(root / "004.npy", np.zeros((24, 24, 4), np.uint8))
    loader = build_loader(
        replace(config, batch_size=14),
        find_sets(config, ("a", "b"), "unpaired"),
        {"a": PLAIN, "b": PLAIN},
        start=0,
        stop=1,
    )
    (batch,) = loader
    assert batch["unreadable"] == [(str(root / "004.npy"), "it has 4 channels and the model takes 3")]


def test_held_out_pictures_are_of_the_kind_that_is_learnt_from(deep_config: TrainConfig) -> None:
    a, b = held_out_pictures(find_sets(deep_config, ("a", "b"), "unpaired"), deep_config, 2).values()
    assert (a.shape, b.shape, a.dtype) == ((2, 5, 16, 16), (2, 3, 16, 16), torch.float32)
    assert 0 <= a.min() < 0.2 < 0.8 < a.max() <= 1


def test_one_domain_is_seen_as_beside_another(config: TrainConfig) -> None:
    both, alone = load_batches(config), replace(config, a=None)
    found = list(build_loader(alone, find_sets(alone, ("b",), "unpaired"), start=0, stop=12))
    for one, other in zip(found, both, strict=True):
        assert one.keys() == {"b", "unreadable", "enlarged"}
        assert torch.equal(one["b"], other["b"])
    assert held_out_pictures(find_sets(alone, ("b",), "unpaired"), alone, 4).keys() == {"b"}


@pytest.fixture
def pairs(folder: Folder, tmp_path: Path) -> TrainConfig:
    """The same 13 pictures in A and in B, in another format there."""
    a, b = folder("photos", 13, size=24), tmp_path / "drawings"
    b.mkdir()
    for path in a.iterdir():
        Image.open(path).save(b / f"{path.stem}.bmp")
    return TrainConfig(a=str(a), b=str(b), load_size=20, crop_size=16, workers=0, seed=3, holdout=0, batch_size=2)


def paired(config: TrainConfig, stop: int = 12) -> list[Batch]:
    return list(build_loader(config, find_sets(config, ("a", "b"), "aligned"), start=0, stop=stop))


PIPELINE = "- RandomCrop: {height: 16, width: 16}\n- GaussNoise: {p: 1.0}\n- D4"


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("changes", [{}, {"load_size": 0}, {"augment": PIPELINE}, {"flip": False}])
def test_the_pictures_of_a_pair_are_cut_and_turned_alike(
    workers: int, changes: dict[str, object], pairs: TrainConfig, tmp_path: Path
) -> None:
    if "augment" in changes:
        (tmp_path / "augment.yaml").write_text(str(changes["augment"]))
        changes = {"augment": str(tmp_path / "augment.yaml")}
    found = paired(replace(pairs, workers=workers, **changes))
    assert all(torch.equal(batch["a"], batch["b"]) for batch in found)
    assert len({picture.numpy().tobytes() for batch in found for picture in batch["a"]}) == 24


def test_a_pair_of_two_sizes_is_scaled_first(pairs: TrainConfig) -> None:
    for path in Path(pairs.b or "").iterdir():
        pixels = np.kron(read_image(path), np.ones((2, 2, 1), np.uint8))
        Image.fromarray(pixels).save(path)
    found = paired(replace(pairs, load_size=24))
    assert all(torch.equal(batch["a"], batch["b"]) for batch in found)


def test_a_pair_that_does_not_lie_over_each_other_counts_as_unreadable(pairs: TrainConfig) -> None:
    for size, load_size in (((24, 30), 20), ((48, 48), 0)):
        Image.new("RGB", size).save(Path(pairs.b or "") / "004.bmp")
        (batch,) = paired(replace(pairs, batch_size=13, load_size=load_size), stop=1)
        ((path, reason),) = batch["unreadable"]
        assert path == str(Path(pairs.a or "") / "004.png")
        assert reason == f"its 24×24 pixels do not match the {size[0]}×{size[1]} of {pairs.b}/004.bmp"
        assert torch.equal(batch["a"], batch["b"])


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("side", ["a/004.png", "b/004.bmp"])
def test_an_unreadable_picture_takes_its_partner_along(side: str, workers: int, pairs: TrainConfig) -> None:
    good = paired(replace(pairs, batch_size=13), stop=1)[0]
    victim = Path(getattr(pairs, side[0])) / side[2:]
    victim.write_bytes(b"dear diary")
    (batch,) = paired(replace(pairs, batch_size=13, workers=workers), stop=1)
    assert [path for path, _ in batch["unreadable"]] == [str(victim)]
    assert torch.equal(batch["a"], batch["b"])
    changed = [index for index in range(13) if not torch.equal(batch["a"][index], good["a"][index])]
    assert len(changed) == 1


def test_where_no_pair_is_whole_both_folders_are_named(pairs: TrainConfig) -> None:
    for path in Path(pairs.b or "").iterdir():
        path.write_bytes(b"dear diary")
    with pytest.raises(CycleganError, match=r"none of the 13 training pictures in .*photos and .*drawings can be"):
        paired(pairs)


def test_held_out_pictures_of_pairs_are_pairs(pairs: TrainConfig) -> None:
    sets = find_sets(replace(pairs, holdout=0.05), ("a", "b"), "aligned")
    shown = held_out_pictures(sets, pairs, 4)
    assert torch.equal(shown["a"], shown["b"])
    (sets.test["b"].path(in_hash_order(sets.test["b"])[0])).write_bytes(b"dear diary")
    fewer = held_out_pictures(sets, pairs, 100)
    assert torch.equal(fewer["a"], fewer["b"])
    assert len(fewer["a"]) == len(sets.test["a"]) - 1
    assert torch.equal(fewer["a"][:3], shown["a"][1:])


@pytest.mark.parametrize("pairing", ["unpaired", "aligned"])
@pytest.mark.parametrize("workers", [0, 1])
def test_three_domains_of_other_kinds_make_one_batch(pairing: str, workers: int, tmp_path: Path) -> None:
    for name, channels in (("trainA", 3), ("trainB", 1), ("trainC", 5)):
        (tmp_path / name).mkdir()
        for number in range(6):
            plane = np.random.default_rng(number).integers(0, 256, (24, 24, 1), np.uint8)
            np.save(tmp_path / name / f"{number}.npy", np.repeat(plane, channels, axis=2))
    config = TrainConfig(
        data=str(tmp_path), load_size=20, crop_size=16, workers=workers, holdout=0, batch_size=2, cache="ram"
    )
    sets = find_sets(config, ("a", "b", "c"), pairing)
    found = list(build_loader(config, sets, start=0, stop=20))
    assert [found[0][name].shape for name in "abc"] == [(2, channels, 16, 16) for channels in (3, 1, 5)]
    same = [all(torch.equal(batch[name][:, :1], batch["b"]) for name in "ac") for batch in found]
    assert all(same) if pairing == "aligned" else not any(same)
