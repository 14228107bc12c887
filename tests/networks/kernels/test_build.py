"""Building the kernels, and doing without them."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from cyclegan.networks import build_generator, place_networks
from cyclegan.networks.kernels import build

SHELL = "#!/bin/sh\n"


@pytest.fixture(autouse=True)
def forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test builds anew, into a folder of its own."""
    monkeypatch.setenv("CYCLEGAN_CACHE", str(tmp_path / "cache"))
    build.load_kernels.cache_clear()
    yield
    build.load_kernels.cache_clear()


def compiler(tmp_path: Path, script: str) -> str:
    path = tmp_path / "compiler"
    path.write_text(SHELL + script)
    path.chmod(0o755)
    return str(path)


needs_compiler = pytest.mark.skipif(build.load_kernels() is None, reason="needs a C compiler")


@pytest.mark.process
@needs_compiler
def test_what_was_built_is_kept_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert build.load_kernels() is not None
    (kept,) = (tmp_path / "cache").iterdir()
    build.load_kernels.cache_clear()
    monkeypatch.setattr(build, "_compile", lambda *_: pytest.fail("built twice"))
    assert build.load_kernels() is not None
    assert kept.suffix == ".so"


@pytest.mark.process
@needs_compiler
def test_what_is_damaged_is_built_again(tmp_path: Path) -> None:
    assert build.load_kernels() is not None
    (kept,) = (tmp_path / "cache").iterdir()
    whole = kept.stat().st_size
    kept.unlink()  # not written over: this process has it mapped
    kept.write_bytes(b"\x7fELF and no more")
    build.load_kernels.cache_clear()
    assert build.load_kernels() is not None
    assert kept.stat().st_size == whole


@pytest.mark.process
@needs_compiler
def test_a_cache_that_cannot_be_written_to_is_no_reason_to_do_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CYCLEGAN_CACHE", str(tmp_path / "file" / "below"))
    assert build.load_kernels() is not None


@pytest.mark.process
@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'x.c:1: error: no such thing' >&2; exit 1", "no such thing"),
        ("exit 3", "exit 3"),
        ('while [ "$1" != -o ]; do shift; done; echo nothing > "$2"', "does not load"),
    ],
)
def test_a_compiler_that_fails_is_named_once_and_torch_computes(
    script: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CC", compiler(tmp_path, script))
    caplog.set_level(logging.INFO, logger="cyclegan")
    torch.manual_seed(0)
    network = build_generator("resnet_6blocks", channels=4)
    x = torch.rand(1, 3, 16, 16)
    exact = place_networks(network, torch.device("cpu"), exact=True)(x)
    fast = place_networks(network, torch.device("cpu"), exact=False)(x)
    torch.testing.assert_close(fast, exact, rtol=0, atol=1e-6)
    said = [record.message for record in caplog.records]
    assert len(said) == 1
    assert reason in said[0]


def test_a_machine_without_compiler_is_told_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "")
    caplog.set_level(logging.INFO, logger="cyclegan")
    assert build.load_kernels() is None
    assert build.load_kernels() is None
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "convolutions are computed by torch alone, which is slower"
    ]


@pytest.mark.process
def test_a_compiler_that_is_not_there_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler-anywhere")
    assert build.load_kernels() is None
