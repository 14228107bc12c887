"""What holds for every network that can be chosen by name."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from cyclegan.errors import UsageError
from cyclegan.networks import DISCRIMINATORS, GENERATORS, build_discriminator, build_generator


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
def test_a_generator_is_rebuilt_from_its_spec(name: str, norm: str) -> None:
    built = build_generator(name, channels=1, norm=norm, dropout=True, upsampling="resize", spectral_norm=True)
    again = build_generator(**json.loads(json.dumps(built.spec)))
    again.load_state_dict(built.state_dict())
    x = torch.randn(1, 3, 40, 24)
    torch.testing.assert_close(built.eval()(x), again.eval()(x))
    assert again.spec == built.spec


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize("name", DISCRIMINATORS)
@pytest.mark.parametrize("spectral_norm", [False, True])
def test_every_discriminator_learns_from_a_constant_picture_in_bf16(name: str, norm: str, spectral_norm: bool) -> None:
    network = build_discriminator(name, channels=2, norm=norm, spectral_norm=spectral_norm)
    x = torch.zeros(2, 3, 48, 48, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = network(x)
    scales = [outputs] if isinstance(outputs, Tensor) else outputs
    torch.stack([scale.float().square().mean() for scale in scales]).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()


def test_the_same_seed_draws_the_same_weights() -> None:
    def drawn(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return torch.cat([weight.flatten() for weight in build_generator("resnet_6blocks", channels=2).parameters()])

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


@pytest.mark.parametrize(
    ("build", "choice", "message"),
    [
        (build_generator, {"name": "resnet_9block"}, r"--generator: .*'resnet_9blocks'"),
        (build_discriminator, {"name": "pach"}, r"--discriminator: .*'patch'"),
        (build_generator, {"name": "unet_128", "norm": "instnce"}, r"--norm: .*'instance'"),
        (build_generator, {"name": "resnet_6blocks", "upsampling": "resise"}, r"--upsampling: .*'resize'"),
        (build_discriminator, {"name": "pixel", "norm": "layer"}, r"--norm: .*known are"),
    ],
)
def test_an_unknown_name_is_a_sentence_that_names_the_option(
    build: object, choice: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        build(**choice)  # type: ignore[operator]
