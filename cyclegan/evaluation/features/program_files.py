"""Networks in TorchScript and torch.export files: programs, loaded only with `--trust-features`.

Both kinds are code, if in languages of torch's own: TorchScript can write files (`aten::save`). Python is run by
neither, once it is made sure that no part of a torch.export archive is a pickle with more than tensors in it, for such
a part torch would unpickle without asking.
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
    """The network in `path`, on `device`, and the kind of file it is in.

    Raises `UsageError` for a file that is not there, of another kind, damaged, with code in a pickle, or without
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
            warnings.simplefilter("ignore", FutureWarning)  # that TorchScript will go; it is still handed around
            network = _LOADERS[kind](path, device)
    except Exception as error:  # whatever the loaders stumble over in a damaged file
        raise UsageError(
            f"--features {path}: {kind} that cannot be loaded ({first_line(error)}); save it again"
        ) from error
    return _explained(network, path), kind


def _explained(network: Network, path: Path) -> Network:
    def run(pictures: Tensor) -> Tensor:
        try:
            return network(pictures)
        except Exception as error:  # whatever somebody's program raises
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            raise UsageError(
                f"--features {path}: it cannot take {' × '.join(map(str, pictures.shape))} pictures ({reason}); it has "
                "to take float32 N × 3 × H × W in [0, 1] for any N"
            ) from error

    return run


def _kind(path: Path) -> str | None:
    """The kind of program a file is, by the names in its archive; nothing is read that could run."""
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
    """`UsageError` where a part that torch.save wrote holds more than tensors. TorchScript has its own, safe reader."""
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
            except Exception as error:  # whatever the reader stumbles over; another one might read on to the code
                raise UsageError(
                    f"--features {path}: its part {name} cannot be checked for code ({type(error).__name__}); "
                    "export the network again"
                ) from error


_LOADERS: dict[str, Callable[[Path, torch.device], Network]] = {
    "TorchScript": lambda path, device: torch.jit.load(path, map_location=device).eval(),
    "torch.export": lambda path, device: torch.export.load(path).module().to(device),
}
