"""Models out of training states, with nothing run that such a file may hold."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from cyclegan.errors import UsageError
from cyclegan.models import DamagedModel, load_discriminators, load_model
from tests.models.examples import generator, generators, same, state, state_file


class Bomb:
    """Unpickling this makes the file `canary`."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.canary),)


def test_a_state_gives_the_generators_in_it(tmp_path: Path) -> None:
    model = load_model(state_file(tmp_path / "state-00000007.pt", state(0)))
    assert all(same(network, model.generators[way]) for way, network in generators(0).items())
    assert model.info == {
        "step": 7, "method": "cyclegan", "load_size": 40, "crop_size": 32, "a": "horses", "b": "zebras"
    }  # fmt: skip


def test_a_state_gives_its_averaged_weights_where_it_has_them(tmp_path: Path) -> None:
    model = load_model(state_file(tmp_path / "state-00000007.pt", state(0, average=5)))
    assert same(model.generators["ab"], generator(5))


def test_a_state_does_not_need_its_checksum_but_is_held_to_it(tmp_path: Path) -> None:
    path = state_file(tmp_path / "state-00000007.pt", state(0), checksum=False)
    assert same(load_model(path).generators["ab"], generator(0))
    path.with_name(path.name + ".sha256").write_text(f"{'0' * 64}  {path.name}\n")
    with pytest.raises(DamagedModel, match="checksum is not the one"):
        load_model(path)


def test_a_flipped_bit_in_a_state_is_noticed(tmp_path: Path) -> None:
    path = state_file(tmp_path / "state-00000007.pt", state(0))
    whole = path.read_bytes()
    for place in range(0, len(whole), len(whole) // 7):
        flipped = bytearray(whole)
        flipped[place] ^= 4
        path.write_bytes(flipped)
        with pytest.raises((DamagedModel, UsageError), match=r"^MODEL: "):
            load_model(path)


@pytest.mark.parametrize("left", [0, 4, 100, 10_000, -1])
def test_a_state_that_is_cut_short_is_refused_even_without_a_checksum(tmp_path: Path, left: int) -> None:
    path = state_file(tmp_path / "state-00000007.pt", state(0), checksum=False)
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(DamagedModel, match=r"^MODEL: .*(cut short|empty)"):
        load_model(path)


def test_code_in_a_state_is_refused_and_not_run(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    path = state_file(tmp_path / "state-00000007.pt", state(0) | {"extra": Bomb(canary)})
    with pytest.raises(DamagedModel, match="refused, nothing in it was run"):
        load_model(path)
    assert not canary.exists()
    torch.load(path, weights_only=False)  # the bomb is a real one
    assert canary.exists()


def test_a_bare_pickle_is_not_even_opened(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    for protocol in (0, 2, 4):
        (tmp_path / "state-00000007.pt").write_bytes(pickle.dumps(Bomb(canary), protocol))
        with pytest.raises(UsageError, match="may hold code"):
            load_model(tmp_path / "state-00000007.pt")
    assert not canary.exists()


def test_a_torch_file_of_someone_else_is_refused_with_the_way_in(tmp_path: Path) -> None:
    torch.save({"model.1.weight": torch.ones(3)}, tmp_path / "latest_net_G_A.pth")
    with pytest.raises(UsageError, match="import-junyanz"):
        load_model(tmp_path / "latest_net_G_A.pth")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"version": 2}, "version 2 and this cyclegan reads 1"),
        ({"config": None}, "lacks its part 'config'"),
        ({"method": {}}, "holds no generators"),
        ({"generator_specs": {"ab": {"name": "resnet_9blocks", "channels": 2}}}, "does not fit its own description"),
    ],
)
def test_a_state_that_makes_no_sense_is_refused(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DamagedModel, match=sentence):
        load_model(state_file(tmp_path / "state-00000007.pt", state(0) | changes))


def test_the_discriminators_come_with_the_state_and_its_step(tmp_path: Path) -> None:
    content = state(0, step=12)
    judges, step = load_discriminators(state_file(tmp_path / "state-00000012.pt", content))
    assert step == 12
    assert list(judges) == ["a", "b"]
    for domain, judge in judges.items():
        for name, value in judge.state_dict().items():
            assert torch.equal(value, content["method"][f"discriminators.{domain}.{name}"])


def test_the_ranges_of_a_run_are_in_what_its_model_says_of_itself(tmp_path):
    ranges = {"a": "100,4000", "b": "0,255", "dtype": "uint16"}
    state_file(tmp_path / "with.pt", state() | {"ranges": ranges})
    state_file(tmp_path / "without.pt", state() | {"ranges": None})
    assert load_model(tmp_path / "with.pt").info["ranges"] == ranges
    assert "ranges" not in load_model(tmp_path / "without.pt").info
