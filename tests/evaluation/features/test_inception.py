"""The Inception of FID: its layout, its pooling, and where its weights come from.

The weights themselves cannot be had in a test. What is tested is that a file in their layout is taken whole, that the
network pools as FID's does, and that nothing is fetched unasked or kept unchecked.
"""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cyclegan.errors import CycleganError, UsageError
from cyclegan.evaluation.features import Wanted, inception, load_extractor
from cyclegan.system.files import sha256

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in the layout of pt_inception-2015-12-05: no counters of batches, no auxiliary classifier."""
    torch.manual_seed(0)
    state = inception.FIDInception().state_dict()
    path = tmp_path_factory.mktemp("inception") / "pt_inception.pth"
    torch.save({name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}, path)
    return path


def test_the_layout_is_that_of_the_file_of_2015(weights: Path) -> None:
    state = torch.load(weights, weights_only=True)
    assert len(state) == 94 * 5 + 2  # convolution, scale, shift, mean and variance each; then the last layer
    assert state["fc.weight"].shape == (1008, 2048)
    assert state["Conv2d_1a_3x3.conv.weight"].shape == (32, 3, 3, 3)
    assert state["Mixed_6e.branch7x7dbl_5.bn.running_var"].shape == (192,)
    assert state["Mixed_7c.branch3x3dbl_3b.conv.weight"].shape == (384, 384, 3, 1)
    assert sum(value.numel() for value in state.values()) * 4 == pytest.approx(inception.BYTES, rel=2e-3)


@pytest.mark.slow
def test_the_extractor_gives_2048_features_of_the_penultimate_layer(weights: Path) -> None:
    extractor = load_extractor(Wanted("inception", weights=weights), CPU)
    pictures = torch.randint(0, 256, (2, 3, 20, 30), dtype=torch.uint8)
    features = extractor(pictures)
    assert features.shape == (2, 2048)
    assert float(features.std()) > 0
    assert "not those of FID" in extractor.how
    state = torch.load(weights, weights_only=True)
    whole = inception.FIDInception()
    whole.load_state_dict(state, strict=False)
    with torch.inference_mode():
        logits = whole.eval()(inception.prepare(pictures))
    torch.testing.assert_close(features @ state["fc.weight"].T + state["fc.bias"], logits, rtol=1e-3, atol=1e-4)


def test_averages_leave_the_padding_out_and_the_last_block_takes_the_maximum() -> None:
    seen: dict[str, Tensor] = {}
    network = inception.FIDInception().eval()
    blocks = [name for name, _ in network.named_modules() if name.endswith("branch_pool")]
    assert len(blocks) == 9
    for name in blocks:
        network.get_submodule(name).register_forward_pre_hook(functools.partial(_keep, seen, name))
    channels = {"5b": 192, "5c": 256, "5d": 288, "7b": 1280, "7c": 2048} | dict.fromkeys(("6b", "6c", "6d", "6e"), 768)
    for name in blocks:
        block = name.partition(".")[0]
        maps = torch.rand(1, channels[block[-2:]], 5, 5)
        with torch.inference_mode():
            network.get_submodule(block)(maps)
        corner = maps[0, :, :2, :2].flatten(1)
        wanted = corner.amax(dim=1) if block == "Mixed_7c" else corner.mean(dim=1)
        torch.testing.assert_close(seen[name][0, :, 0, 0], wanted)


def _keep(seen: dict[str, Tensor], name: str, _: object, inputs: tuple[Tensor]) -> None:
    seen[name] = inputs[0]


def test_weights_are_the_given_ones_then_those_of_the_environment_then_those_fetched_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CYCLEGAN_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UsageError, match=r"give --download to fetch them.*CYCLEGAN_INCEPTION.*judge"):
        inception.find_weights(None, download=False)
    kept = tmp_path / "cache" / "inception" / "pt_inception-2015-12-05-6726825d.pth"
    kept.parent.mkdir(parents=True)
    kept.touch()
    assert inception.find_weights(None, download=False) == kept
    monkeypatch.setenv("CYCLEGAN_INCEPTION", "/elsewhere.pth")
    assert inception.find_weights(None, download=False) == Path("/elsewhere.pth")
    assert inception.find_weights(Path("/given.pth"), download=False) == Path("/given.pth")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a file on the loopback network."""
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "file.pth").write_bytes(b"weights" * 1000)
    handler = functools.partial(_Quiet, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}/file.pth"
        serving.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


def test_what_is_fetched_is_kept_only_with_the_right_digest(
    tmp_path: Path, server: str, caplog: pytest.LogCaptureFixture
) -> None:
    target = tmp_path / "cache" / "file.pth"
    with pytest.raises(CycleganError, match="it was discarded"):
        inception._download(target, server, "0" * 64)
    assert not target.exists()
    with caplog.at_level("INFO", "cyclegan"):
        inception._download(target, server, sha256(b"weights" * 1000))
    assert target.read_bytes() == b"weights" * 1000
    assert "fetching http" in caplog.text
    with pytest.raises(CycleganError, match="could not be fetched"):
        inception._download(tmp_path / "other.pth", server.replace("file", "nothing"), "0" * 64)
    assert not (tmp_path / "other.pth").exists()
