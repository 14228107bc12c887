"""Import and export of weight files of the reference implementation.

See https://github.com/junyanz/pytorch-CycleGAN-and-pix2pix. A file is a bare state dict without a description of its
network, so the architecture is inferred from names and shapes. The networks there are `Sequential`, so modules are
numbered, including layers without weights; `LAYOUTS` maps our modules to theirs.

Beware of one difference in names: there G_A maps A *to B*, and D_A scores the output of G_A, that is B. Ours are
`generators["ab"]` and `discriminators["b"]`.
"""

from __future__ import annotations

import copy
import io
import pickle
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from cyclegan.errors import CycleganError, UsageError
from cyclegan.models.safe_torch import read_torch
from cyclegan.networks import Discriminator, Generator, build_generator
from cyclegan.networks.layers import InstanceNorm, ResizeConv2d
from cyclegan.networks.patchgan import PatchDiscriminator, PixelDiscriminator
from cyclegan.networks.resnet import ResNetGenerator
from cyclegan.networks.unet import UNetGenerator
from cyclegan.system.files import atomic_write

Weights = dict[str, Tensor]
Layout = dict[str, str]  # our module name -> theirs

# Their part of a file name -> our key; of two names for one key the first that exists.
GENERATOR_PARTS = {"G_A": "ab", "G_B": "ba", "G": "ab"}
DISCRIMINATOR_PARTS = {"D_A": "b", "D_B": "a", "D": "b"}
FILE_NAME = re.compile(r"(?P<epoch>.+)_net_(?P<part>[GD](_[AB])?)\.pth")
RUNNING = re.compile(r"\.(running_mean|running_var|num_batches_tracked)$")


def load_reference(source: str | Path) -> tuple[dict[str, Generator], dict[str, Discriminator]]:
    """Load generators ("ab", "ba") and discriminators ("a", "b") from a folder or a `.pth` file.

    Of several epochs in a folder "latest" is taken, else the highest number. A single generator whose name lacks a
    direction is "ab". The networks are in evaluation mode, on the CPU, in fp32.

    Shapes do not show whether a U-Net was trained with dropout; it is read as one without, which translates equally.
    Running statistics without a scale come from an old InstanceNorm, which never used them, and are ignored.

    Raises `UsageError` if no matching file is found, `CycleganError` for a file that is not such a network or that
    holds code.
    """
    source = Path(source)
    files = _files_of(source)
    generators: dict[str, Generator] = {}
    discriminators: dict[str, Discriminator] = {}
    for part, key in GENERATOR_PARTS.items():
        if part in files and key not in generators:
            generators[key] = read_generator(files[part])
    for part, key in DISCRIMINATOR_PARTS.items():
        if part in files and key not in discriminators:
            discriminators[key] = read_discriminator(files[part])
    if not generators:
        raise UsageError(f"{source} holds no generator; give a folder or a file with a *_net_G_A.pth or *_net_G.pth")
    return generators, discriminators


def read_generator(path: Path) -> Generator:
    """Load a generator from a `.pth` file, inferring its architecture; else `CycleganError`."""
    weights = _read(path)
    if "model.model.0.weight" in weights:
        first, inner = "model.model.0", "model.model.1.model.1"
        depth = sum(name.endswith(".weight") and weights[name].ndim == 4 for name in weights) // 2
        names = {7: "unet_128", 8: "unet_256"}
        norm_scale, head, dropout = "model.model.1.model.2.weight", "model.model.3", False
        out_axis, size = 1, f"{depth} halvings"
    else:
        numbers = {int(match[1]) for match in map(re.compile(r"model\.(\d+)\.conv_block\.").match, weights) if match}
        depth = len(numbers)
        names = {6: "resnet_6blocks", 9: "resnet_9blocks"}
        first, inner, norm_scale, head = "model.1", "model.4", "model.2.weight", f"model.{depth + 17}"
        second = weights.get("model.10.conv_block.6.weight")  # without dropout this is a norm's scale
        dropout = second is not None and second.ndim == 4
        out_axis, size = 0, f"{depth} residual blocks"
    if depth == 0 or not all(_is_convolution(weights, name) for name in (first, inner, head)):
        raise CycleganError(f"{path} is not a generator of the reference implementation, ResNet or U-Net")
    if depth not in names:
        raise CycleganError(f"{path}: a generator with {size}; known are {', '.join(names.values())}")
    generator = build_generator(
        names[depth],
        in_channels=weights[f"{first}.weight"].shape[1],
        out_channels=weights[f"{head}.weight"].shape[out_axis],
        channels=weights[f"{first}.weight"].shape[0],
        norm=_norm_of(weights, norm_scale, f"{inner}.bias"),
        dropout=dropout,
    )
    _fill(generator, weights, path)
    return generator


def read_discriminator(path: Path) -> Discriminator:
    """Load a PatchGAN of any depth or a pixel discriminator from a `.pth` file; else `CycleganError`."""
    weights = _read(path)
    network: Discriminator
    if _is_convolution(weights, "net.0"):
        first = weights["net.0.weight"]
        norm = _norm_of(weights, "net.3.weight", "net.2.bias")
        network = PixelDiscriminator(in_channels=first.shape[1], channels=first.shape[0], norm=norm)
    elif _is_convolution(weights, "model.0") and _is_convolution(weights, "model.5"):
        first = weights["model.0.weight"]
        layers = sum(weight.ndim == 4 for weight in weights.values()) - 2
        norm = _norm_of(weights, "model.3.weight", "model.2.bias")
        network = PatchDiscriminator(layers=layers, in_channels=first.shape[1], channels=first.shape[0], norm=norm)
    else:
        raise CycleganError(f"{path} is not a discriminator of the reference implementation")
    _fill(network, weights, path)
    return network


def write_reference(
    folder: str | Path,
    generators: Mapping[str, nn.Module],
    discriminators: Mapping[str, nn.Module] | None = None,
    epoch: str = "latest",
) -> list[Path]:
    """Write `latest_net_G_A.pth` etc., which load strictly in the reference; return the paths.

    Spectral normalisation is folded into the weights. Raises `UsageError`, before anything is written, for networks
    that the reference implementation lacks, and `OSError` if the folder is not writable.
    """
    files = {}
    for parts, networks in ((GENERATOR_PARTS, generators), (DISCRIMINATOR_PARTS, discriminators or {})):
        for part, key in parts.items():
            if key in networks and "_" in part:
                files[f"{epoch}_net_{part}.pth"] = _export(networks[key])
    folder = Path(folder)
    for name, weights in files.items():
        stream = io.BytesIO()
        torch.save(weights, stream)
        atomic_write(folder / name, stream.getbuffer())
    return [folder / name for name in files]


def reference_flags(generator: Generator) -> str:
    """Options for the reference implementation's `test.py` to build the network of an exported file."""
    spec = generator.spec
    shape = f"--ngf {spec['channels']} --input_nc {spec['in_channels']} --output_nc {spec['out_channels']}"
    return f"--netG {spec['name']} --norm {spec['norm']} {shape}{'' if spec['dropout'] else ' --no_dropout'}"


def _files_of(source: Path) -> dict[str, Path]:
    """Map their part of the name ("G_A", …) to the file, all of one epoch."""
    if source.is_file():
        match = FILE_NAME.fullmatch(source.name)
        return {match["part"] if match else "G": source}
    if not source.is_dir():
        raise UsageError(f"{source} does not exist; give a folder or a file with a *_net_G_A.pth or *_net_G.pth")
    epochs: dict[str, dict[str, Path]] = {}
    for path in sorted(source.iterdir()):
        match = FILE_NAME.fullmatch(path.name)
        if match:
            epochs.setdefault(match["epoch"], {})[match["part"]] = path
    with_generator = [epoch for epoch, files in epochs.items() if GENERATOR_PARTS.keys() & files.keys()]

    def age(epoch: str) -> tuple[bool, int]:
        return epoch == "latest", int(epoch) if epoch.isdecimal() else -1

    return epochs[max(with_generator, key=age)] if with_generator else {}


def _read(path: Path) -> Weights:
    """Read a state dict in fp32, without `module.` prefixes and unused running statistics."""
    try:
        loaded = read_torch(path, archive=False)
    except pickle.UnpicklingError:
        raise CycleganError(
            f"{path} is not a file of bare weights and was not opened: it is damaged, or holds objects whose loading "
            "would run code; save network.state_dict() and give that file"
        ) from None
    except (OSError, ValueError) as error:
        raise CycleganError(f"{path} cannot be read ({error}); copy it again") from error
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise CycleganError(f"{path} is not a state dict: it should hold named tensors and nothing else")
    weights = {str(name).removeprefix("module."): value for name, value in loaded.items()}
    return {
        name: value.float() if value.is_floating_point() else value
        for name, value in weights.items()
        if not RUNNING.search(name) or RUNNING.sub(".weight", name) in weights
    }


def _is_convolution(weights: Weights, name: str) -> bool:
    return f"{name}.weight" in weights and weights[f"{name}.weight"].ndim == 4


def _norm_of(weights: Weights, norm_scale: str, bias_before: str) -> str:
    """Infer the norm: only batch norm has a scale; convolutions before instance norm have a bias."""
    if norm_scale in weights:
        return "batch"
    return "instance" if bias_before in weights else "none"


def _fill(network: nn.Module, weights: Weights, path: Path) -> None:
    """Load the weights of a file; `CycleganError` names the first missing, mismatched or extra one."""
    left = dict(weights)
    # Without normalisation theirs have a bias only in the first and the last convolution; elsewhere it counts as 0.
    unbiased = not any(isinstance(module, InstanceNorm | nn.BatchNorm2d) for module in network.modules())
    state = network.state_dict()
    for ours, theirs in _translate_names(state, network).items():
        if theirs in left and left[theirs].shape == state[ours].shape:
            state[ours] = left.pop(theirs)
        elif theirs in left:
            found, wanted = (tuple(tensor.shape) for tensor in (left[theirs], state[ours]))
            raise CycleganError(f"{path}: {theirs} has the shape {found} where {wanted} is expected; unknown layout")
        elif theirs.endswith(".num_batches_tracked") or (theirs.endswith(".bias") and unbiased):
            state[ours] = torch.zeros_like(state[ours])  # batches were not counted before 2018
        else:
            raise CycleganError(f"{path} has no {theirs}; unknown layout")
    if left:
        raise CycleganError(f"{path} has {next(iter(left))}, which is in none of the known layouts")
    network.load_state_dict(state)
    network.eval()


def _export(network: nn.Module) -> Weights:
    """Convert a network to their state dict; `UsageError` if they have no such network."""
    kind = type(network).__name__
    if type(network) not in LAYOUTS:
        raise UsageError(f"--format junyanz: the reference implementation has no {kind}; export the generators alone")
    modules = list(network.modules())
    if any(isinstance(module, ResizeConv2d) for module in modules):
        raise UsageError(
            "--format junyanz: the reference implementation enlarges by transposed convolutions only, "
            "and this generator was trained with --upsampling resize; choose another format"
        )
    if not any(isinstance(module, InstanceNorm | nn.BatchNorm2d) for module in modules):
        raise UsageError(
            "--format junyanz: without normalisation the reference implementation's convolutions have no bias, "
            "and those of this network, trained with --norm none, have; choose another format"
        )
    plain = copy.deepcopy(network).cpu().eval()  # in evaluation mode, or reading a weight updates its spectral norm
    state = {name: value for name, value in plain.state_dict().items() if ".parametrizations." not in name}
    for name, module in plain.named_modules():
        # remove_parametrizations() would do, but it also breaks the original, whose class the copy shares
        if parametrize.is_parametrized(module, "weight"):
            state[f"{name}.weight"] = cast(nn.Conv2d, module).weight
    return {theirs: state[ours].detach().clone() for ours, theirs in _translate_names(state, plain).items()}


def _resnet(network: Any) -> Layout:
    """Padding, convolution, norm and ReLU are numbered consecutively; so is dropout within its block."""
    blocks = len(network.blocks)
    second = 5 + any(isinstance(module, nn.Dropout) for module in network.modules())
    layout = _block("stem", "model", 1) | _block("down.0", "model", 4) | _block("down.1", "model", 7)
    for number in range(blocks):
        theirs = f"model.{10 + number}.conv_block"
        layout |= _block(f"blocks.{number}.first", theirs, 1) | _block(f"blocks.{number}.second", theirs, second)
    after = 10 + blocks
    layout |= _block("up.0", "model", after) | _block("up.1", "model", after + 3)
    return layout | {"head": f"model.{after + 7}"}


def _unet(network: Any) -> Layout:
    """Each stage contains the next inner one: (activation, down, norm, inner, activation, up, norm)."""
    depth = len(network.down)
    layout = {"down.0.conv": "model.model.0", "head": "model.model.3"}
    theirs = "model.model.1.model"
    for level in range(1, depth):
        innermost = level == depth - 1  # nothing inside, no norm on the way down
        layout |= _block(f"down.{level}", theirs, 1)
        layout |= _block(f"up.{depth - 1 - level}", theirs, 3 if innermost else 5)
        theirs += ".3.model"
    return layout


def _patch(network: Any) -> Layout:
    layers = len(network.blocks)
    layout = {"stem.conv": "model.0", "head": f"model.{2 + 3 * layers}"}
    for number in range(layers):
        layout |= _block(f"blocks.{number}", "model", 2 + 3 * number)
    return layout


def _pixel(network: Any) -> Layout:
    return {"stem.conv": "net.0", "head": "net.5"} | _block("blocks.0", "net", 2)


LAYOUTS: dict[type[nn.Module], Callable[[Any], Layout]] = {
    ResNetGenerator: _resnet,
    UNetGenerator: _unet,
    PatchDiscriminator: _patch,
    PixelDiscriminator: _pixel,
}


def _block(ours: str, theirs: str, number: int) -> Layout:
    return {f"{ours}.conv": f"{theirs}.{number}", f"{ours}.norm": f"{theirs}.{number + 1}"}


def _translate_names(names: Iterable[str], network: nn.Module) -> dict[str, str]:
    """Map our names of parameters and buffers to theirs."""
    layout = LAYOUTS[type(network)](network)
    split = {name: name.rsplit(".", 1) for name in names}
    return {name: f"{layout[module]}.{leaf}" for name, (module, leaf) in split.items()}
