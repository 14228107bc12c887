"""Which device and which precision a word on the command line means."""

from __future__ import annotations

import contextlib
import platform
from types import SimpleNamespace

import pytest
import torch

from cyclegan.errors import UsageError
from cyclegan.networks import pick_precision
from cyclegan.system.devices import DTYPES, autocast, is_exact, peak_memory, pick_device, prepare
from tests.support.programs import run_python

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("gpus", "metal", "expected"), [(2, False, "cuda"), (0, True, "mps"), (0, False, "cpu"), (1, True, "cuda")]
)
def test_auto_takes_the_fastest_device_that_is_there(
    monkeypatch: pytest.MonkeyPatch, gpus: int, metal: bool, expected: str
) -> None:
    _machine(monkeypatch, gpus, metal)
    assert pick_device("auto") == torch.device(expected)


def test_a_device_that_is_there_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    _machine(monkeypatch, gpus=2, metal=True)
    for name in ("cpu", "cuda", "cuda:0", "cuda:1", "mps"):
        assert pick_device(name) == torch.device(name)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("cuda", "--device cuda: this machine has 0 CUDA devices; use auto or cpu"),
        ("cuda:1", "--device cuda:1: this machine has 0 CUDA devices; use auto or cpu"),
        ("cuda:99999", "--device cuda:99999: this machine has 0 CUDA devices; use auto or cpu"),
        ("mps", "--device mps: this machine has no Metal device; use auto or cpu"),
        ("gpu", "--device: unknown device 'gpu'; use auto, cpu, cuda, cuda:N or mps"),
        ("", "--device: unknown device ''; use auto, cpu, cuda, cuda:N or mps"),
        ("cuda:x", "--device: unknown device 'cuda:x'; use auto, cpu, cuda, cuda:N or mps"),
        ("meta", "--device meta: not supported; use auto, cpu, cuda, cuda:N or mps"),
    ],
)
def test_a_device_that_is_not_there_is_refused_with_what_to_give(
    monkeypatch: pytest.MonkeyPatch, name: str, sentence: str
) -> None:
    _machine(monkeypatch, gpus=0, metal=False)
    with pytest.raises(UsageError) as caught:
        pick_device(name)
    assert str(caught.value) == sentence


def test_one_gpu_has_the_number_0_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    _machine(monkeypatch, gpus=1, metal=False)
    assert pick_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(UsageError, match=r"^--device cuda:1: this machine has 1 CUDA devices"):
        pick_device("cuda:1")


@pytest.mark.parametrize(
    ("vectors", "tiles", "kernels", "expected"),
    [
        (True, True, True, torch.bfloat16),
        (True, False, True, torch.float32),  # a quarter of the products beats twice the speed
        (True, False, False, torch.bfloat16),
        (False, False, True, torch.float32),
        (False, False, False, torch.float32),
    ],
)
def test_auto_takes_what_the_processor_is_fastest_in(
    monkeypatch: pytest.MonkeyPatch, vectors: bool, tiles: bool, kernels: bool, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: vectors)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles)
    monkeypatch.setattr("cyclegan.networks.load_kernels", lambda: object() if kernels else None)
    assert pick_precision("auto", CPU) == expected


def test_auto_asks_a_gpu_for_bf16_in_hardware_and_not_for_its_emulation(monkeypatch: pytest.MonkeyPatch) -> None:
    # A card of 2018 answers yes to the question without the argument, and is then slower than in fp32
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert pick_precision("auto", torch.device("cuda")) == torch.float32


def test_a_named_precision_is_that_precision() -> None:
    assert [pick_precision(name, torch.device("cuda")) for name in DTYPES] == list(DTYPES.values())
    assert pick_precision("bf16", CPU) == torch.bfloat16


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("half", "--precision: unknown value 'half'; use auto, fp32, bf16, fp16"),
        ("fp16", "--precision fp16: processors compute it slowly and imprecisely; use auto, bf16 or fp32 on the CPU"),
    ],
)
def test_a_precision_that_cannot_be_had_is_refused(name: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        pick_precision(name, CPU)
    assert str(caught.value) == sentence


def test_autocast_multiplies_in_the_type_and_keeps_the_weights() -> None:
    layer = torch.nn.Linear(4, 4)
    with autocast(CPU, torch.bfloat16):
        assert layer(torch.ones(1, 4)).dtype == torch.bfloat16
    assert layer.weight.dtype == torch.float32


def test_autocast_to_fp32_is_nothing_at_all() -> None:
    assert isinstance(autocast(CPU, torch.float32), contextlib.nullcontext)


def test_peak_memory_is_in_gib_and_only_grows() -> None:
    before = peak_memory(CPU)
    assert 0.05 < before < 1000, f"{before} GiB is no memory of a process that has torch loaded"
    held = torch.ones(64 * 2**20, dtype=torch.uint8)  # written to, so that it is really there
    assert peak_memory(CPU) >= before
    assert held.any()


def _machine(monkeypatch: pytest.MonkeyPatch, gpus: int, metal: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: metal)


def test_a_gpu_computes_what_stays_fp32_in_tf32_unless_it_is_to_be_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda, cudnn = SimpleNamespace(matmul=SimpleNamespace()), SimpleNamespace(conv=SimpleNamespace())
    settings = SimpleNamespace(cuda=cuda, cudnn=cudnn)  # the real ones belong to the process
    monkeypatch.setattr(torch, "backends", settings)
    for precision, expected in (("auto", "tf32"), ("bf16", "tf32"), ("fp32", "ieee")):
        prepare(torch.device("cuda"), exact=is_exact(precision))
        assert settings.cuda.matmul.fp32_precision == settings.cudnn.conv.fp32_precision == expected
        assert settings.cudnn.benchmark


FREED = """
import resource, sys, torch
from cyclegan.system.devices import prepare
if "keep" in sys.argv:
    prepare(torch.device("cpu"), exact=False)
for _ in range(20):  # aligned memory takes a few places before it comes back to the first
    torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(2**24)  # 64 MB; up to 32 it keeps by itself
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.process
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_memory_that_was_freed_is_used_again_without_asking_the_system() -> None:
    def faults(*arguments: str) -> int:
        return int(run_python(FREED, *arguments).stdout)

    assert 4 * faults("keep") < faults()
