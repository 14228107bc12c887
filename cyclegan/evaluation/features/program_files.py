"""Networks in TorchScript and torch.export files: programs, loaded only with `--trust-features`.

Both kinds are code in languages of torch: TorchScript can write files (`aten::save`). Neither runs Python, provided
that no part of a torch.export archive is a pickle with more than tensors in it, since torch would unpickle such a part
without asking; this is checked first.
"""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from cyclegan.errors import UsageError, first_line

Network = Callable[[Tensor], Tensor]


def load_program(path: Path, device: torch.device, *, trust: bool) -> tuple[Network, str]:
    """Load the network in `path` on `device`; returns it with the kind of its file.

    Raises `UsageError` for a file that is missing, of another kind, damaged, with code in a pickle, or without
    `trust`; nothing in it has then been run.
    """
    if not path.is_file():
        raise UsageError(f"--features: there is no file {path}; name a TorchScript or torch.export file")
    kind = _kind(path)
    if kind is None:
        raise UsageError(
            f"--features {path}: this is neither TorchScript nor torch.export, and other files may hold code, so it "
            "was not opened; save the network by torch.jit.save or torch.export.save"
        )
    if not trust:
        raise UsageError(
            f"--features {path}: a network in a file is a program, and running it may do harm; give --trust-features "
            "if you know who made it"
        )
    _refuse_code_in_pickles(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # TorchScript is deprecated, but still in use
            network = _LOADERS[kind](path, device)
    except Exception as error:  # loaders raise anything for a damaged file
        raise UsageError(
            f"--features {path}: {kind} that cannot be loaded ({first_line(error)}); save it again"
        ) from error
    return _explained(network, path), kind


def _explained(network: Network, path: Path) -> Network:
    def run(pictures: Tensor) -> Tensor:
        try:
            return network(pictures)
        except Exception as error:  # a foreign program may raise anything
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            raise UsageError(
                f"--features {path}: it cannot take {' × '.join(map(str, pictures.shape))} pictures ({reason}); it has "
                "to take float32 N × 3 × H × W in [0, 1] for any N"
            ) from error

    return run


def _kind(path: Path) -> str | None:
    """Kind of program in a file, by the names in its archive; nothing is read that could run."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.partition("/")[2] or name for name in archive.namelist()]
    except (zipfile.BadZipFile, OSError):
        return None
    if "constants.pkl" in names and any(name.startswith("code/") for name in names):
        return "TorchScript"
    exported = ("archive_format", "serialized_exported_program.json")
    return "torch.export" if any(name in exported for name in names) else None


def _refuse_code_in_pickles(path: Path) -> None:
    """`UsageError` if a part written by torch.save holds more than tensors. TorchScript has its own, safe reader."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            with archive.open(name) as part:
                if part.read(2) != b"PK" and not name.endswith(".pt"):
                    continue
            data = archive.read(name)
            try:
                if data:
                    torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
            except pickle.UnpicklingError:
                raise UsageError(
                    f"--features {path}: its part {name} holds code beside tensors; nothing in it was run"
                ) from None
            except Exception as error:  # a damaged part, of which another reader might reach the code
                raise UsageError(
                    f"--features {path}: its part {name} cannot be checked for code ({type(error).__name__}); "
                    "export the network again"
                ) from error


_LOADERS: dict[str, Callable[[Path, torch.device], Network]] = {
    "TorchScript": lambda path, device: torch.jit.load(path, map_location=device).eval(),
    "torch.export": lambda path, device: torch.export.load(path).module().to(device),
}
