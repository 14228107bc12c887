"""Reader of foreign weights files; it runs no code in them."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from cyclegan.errors import UsageError, first_line
from cyclegan.models.safe_torch import read_torch


def read_weights(path: Path, option: str) -> dict[str, Tensor]:
    """Read the tensors by name of a .pth or .safetensors file; `UsageError`, naming `option`, for anything else."""
    if not path.is_file():
        raise UsageError(f"{option}: there is no file {path}; name the file of the weights")
    try:
        if path.suffix == ".safetensors":
            content: object = load_file(path)
        else:
            content = read_torch(path, archive=False)
    except pickle.UnpicklingError:
        raise UsageError(
            f"{option}: {path} holds code beside its tensors, or is not a file of torch; it was refused, and nothing "
            "in it was run"
        ) from None
    except (OSError, ValueError, SafetensorError) as error:
        raise UsageError(f"{option}: {path} is cut short or damaged ({first_line(error)}); fetch it again") from None
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise UsageError(f"{option}: {path} holds no weights by name; give a state_dict of the network")
    return dict(content)


def fill(network: nn.Module, weights: Mapping[str, Tensor], path: Path, option: str) -> None:
    """Load all `weights` into `network`; `UsageError` for mismatched names or shapes.

    Old files have no `num_batches_tracked`, which no computation uses.
    """
    own = network.state_dict()
    missing = [name for name in own if name not in weights and not name.endswith("num_batches_tracked")]
    foreign = [name for name in weights if name not in own]
    wrong = [name for name in own if name in weights and own[name].shape != weights[name].shape]
    for names, difference in ((missing, "lacks"), (foreign, "has in addition"), (wrong, "has in another shape")):
        if names:
            raise UsageError(
                f"{option}: {path} is of another network: it {difference} {len(names)} weights, first {names[0]}; "
                f"it holds {len(weights)} of the {len(own)} expected"
            )
    infinite = [name for name, value in weights.items() if value.is_floating_point() and not value.isfinite().all()]
    if infinite:
        raise UsageError(f"{option}: {path} has weights that are not numbers, first {infinite[0]}; fetch it again")
    network.load_state_dict(weights, strict=False)
