"""Inference on one device in one precision, for every kind of picture."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from cyclegan.directions import Direction
from cyclegan.errors import UsageError
from cyclegan.images import Picture, full_range, rgb_array
from cyclegan.models import load_model
from cyclegan.networks import GeneratorLike, check_generator, pick_precision, place_networks
from cyclegan.system.devices import autocast, is_exact, pick_device
from cyclegan.system.pixels import to_bytes, to_unit
from cyclegan.translation.value_scale import ValueScale, to_model_input

P = TypeVar("P")

# Tolerance outside the range of a floating-point picture: resizing overshoots a little; values beyond that mean
# another scale (0 to 255, say), which would silently come out as a grey or a burnt picture.
SLACK = 0.1


class Translator:
    """Translates pictures in one direction.

    >>> translator = Translator.load("runs/horses2zebras")     # doctest: +SKIP
    >>> zebra = translator(Image.open("horse.jpg"))                   # doctest: +SKIP

    `generator` is any `cyclegan.networks.GeneratorLike`; one that lacks a member raises `TypeError`. A module is moved
    to `device` (`auto`, `cpu`, `cuda`, `cuda:N`, `mps`) and computes in `precision` (`auto`, `fp32`, `bf16`, `fp16`);
    pictures keep their device and type. `info` is the metadata of the model.
    """

    def __init__(
        self,
        generator: GeneratorLike,
        *,
        device: str | torch.device = "auto",
        precision: str = "auto",
        info: Mapping[str, Any] | None = None,
        scales: ValueScale | None = None,
        direction: Direction | None = None,  # of a model's; a network given in memory needs none
    ) -> None:
        self.device = pick_device(str(device))
        self.dtype = pick_precision(precision, self.device)
        check_generator(generator)
        self.generator = generator
        if isinstance(generator, nn.Module):
            place_networks(generator, self.device, exact=is_exact(precision))
        self.info = dict(info or {})
        self.scales = scales or ValueScale()
        self.direction = direction
        self.in_channels = generator.in_channels

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], direction: str | None = None, device: str = "auto", precision: str = "auto"
    ) -> Translator:
        """Load a run, checkpoint or generators file in `direction`, by default its only one or `ab`.

        Raises `UsageError` if `path` is not a model, lacks the direction or starts from noise, `CycleganError` if it is
        damaged.
        """
        pick_precision(precision, pick_device(device))  # cheap checks before reading
        model = load_model(path, None if direction is None else [direction])
        chosen = Direction.choose(model.generators, direction, path)
        if chosen.from_noise:
            raise UsageError(
                f"MODEL: {path} makes pictures from noise (direction {chosen.key}) and translates none; name a model "
                "that takes pictures"
            )
        return cls(
            model.generators[chosen.key],
            device=device,
            precision=precision,
            info=model.info,
            scales=ValueScale.of_model(model.info, chosen),
            direction=chosen,
        )

    def __call__(self, picture: P) -> P:
        """Translate `picture`; the result has the same kind, height and width.

        Any height and width is accepted. A `Picture` keeps its metadata, and its pages are translated too. A Pillow
        image gives an RGB one (grey if the model is). An array is height × width × channels, uint8, or floats in
        [0, 1], which give float32. A tensor is CHW or NCHW, uint8, or floats in [-1, 1], and the result has its type
        and device. Raises `TypeError` for other kinds, `ValueError` for other shapes and ranges.
        """
        for kind, translate in self._kinds.items():
            if isinstance(picture, kind):
                result: P = translate(self, picture)
                return result
        raise TypeError(f"a picture is a Pillow image, a numpy array or a torch tensor, not {type(picture).__name__}")

    def batch(self, pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Translate uint8 HWC arrays, in their order; arrays of equal size share a forward pass."""
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for position, picture in enumerate(pictures):
            self._check_array(picture)
            if picture.dtype != np.uint8:
                raise ValueError(f"a batch takes uint8 arrays, not {picture.dtype}")
            by_shape.setdefault(picture.shape, []).append(position)
        results: dict[int, np.ndarray] = {}
        for positions in by_shape.values():
            stack = torch.from_numpy(np.stack([pictures[position] for position in positions]))
            made = to_bytes(self.unit(to_unit(stack.permute(0, 3, 1, 2).to(self.device))))
            results.update(zip(positions, made.permute(0, 2, 3, 1).cpu().contiguous().numpy(), strict=True))
        return [results[position] for position in range(len(pictures))]

    def pictures(self, pictures: Sequence[Picture]) -> list[Picture]:
        """Translate pictures of one `kind` (shape and type), keeping their metadata.

        Their pages are not translated. Raises `ValueError` with a readable reason if a picture does not suit the model.
        """
        assert len({picture.kind for picture in pictures}) == 1, [picture.kind for picture in pictures]
        dtype = pictures[0].pixels.dtype
        ranges = [self.scales.between(picture) for picture in pictures]
        shown = [
            to_model_input(picture.pixels, picture.alpha, source, self.in_channels)
            for picture, (source, _) in zip(pictures, ranges, strict=True)
        ]
        bytes_ = full_range(np.dtype(np.uint8))
        if dtype == np.uint8 and all(both == (bytes_, bytes_) for both in ranges):
            made = self.batch(shown)
        else:
            unit = np.stack([source.to_unit(pixels) for pixels, (source, _) in zip(shown, ranges, strict=True)])
            batch = self.unit(torch.from_numpy(unit).permute(0, 3, 1, 2).to(self.device))
            answers = batch.permute(0, 2, 3, 1).cpu().numpy()
            made = [target.from_unit(answer, dtype) for answer, (_, target) in zip(answers, ranges, strict=True)]
        return [replace(picture, pixels=pixels, pages=()) for picture, pixels in zip(pictures, made, strict=True)]

    def _image(self, picture: Image.Image) -> Image.Image:
        made = self._array(np.array(picture.convert("L"))[:, :, None] if self.in_channels == 1 else rgb_array(picture))
        return Image.fromarray(made[:, :, 0] if made.shape[2] == 1 else made)

    def _picture(self, picture: Picture) -> Picture:
        return replace(self.pictures([picture])[0], pages=tuple(self._picture(page) for page in picture.pages))

    def _array(self, picture: np.ndarray) -> np.ndarray:
        self._check_array(picture)
        if picture.dtype == np.uint8:
            return self.batch([picture])[0]
        if not np.issubdtype(picture.dtype, np.floating):
            raise TypeError(f"an array of a picture is uint8 or floating-point, not {picture.dtype}")
        _check_range(float(picture.min()), float(picture.max()), 0, 1, "an array")
        unit = torch.from_numpy(np.ascontiguousarray(picture, dtype=np.float32)).permute(2, 0, 1)[None]
        made = self.unit(to_unit(unit.to(self.device)))
        return ((made[0].permute(1, 2, 0) + 1) / 2).clamp(0, 1).cpu().contiguous().numpy()

    def _tensor(self, picture: Tensor) -> Tensor:
        if picture.ndim not in (3, 4) or picture.shape[-3] != self.in_channels or 0 in picture.shape:
            wanted = f"{self.in_channels}×H×W or N×{self.in_channels}×H×W, none of them 0"
            raise ValueError(f"a tensor of a picture is {wanted}, not {tuple(picture.shape)}")
        batch = picture.to(self.device).reshape(-1, *picture.shape[-3:])
        if picture.dtype == torch.uint8:
            made = to_bytes(self.unit(to_unit(batch)))
        elif picture.is_floating_point():
            _check_range(float(batch.min()), float(batch.max()), -1, 1, "a tensor")
            made = self.unit(batch.float())
        else:
            raise TypeError(f"a tensor of a picture is uint8 or floating-point, not {picture.dtype}")
        return made.reshape(*picture.shape[:-3], *made.shape[1:]).to(picture.device, picture.dtype)

    # The first matching type is used; another kind of picture is another line.
    _kinds: dict[type, Callable[[Any, Any], Any]] = {
        Picture: _picture,
        Image.Image: _image,
        np.ndarray: _array,
        Tensor: _tensor,
    }

    def _check_array(self, picture: np.ndarray) -> None:
        if picture.ndim != 3 or picture.shape[2] != self.in_channels or 0 in picture.shape:
            wanted = f"height × width × {self.in_channels}, none of them 0"
            raise ValueError(f"an array of a picture is {wanted}, not {picture.shape}")

    @property
    def is_lent(self) -> bool:
        """True for a trainer's network in training mode, which each batch switches to eval mode and back."""
        return isinstance(self.generator, nn.Module) and self.generator.training

    @torch.inference_mode()
    def unit(self, batch: Tensor, network: GeneratorLike | None = None) -> Tensor:
        """Run the network: NCHW in [-1, 1] on the device, any size -> the same, float32.

        `network`, if given, is a variant of the generator with the same weights.
        """
        network = network or self.generator
        layout = torch.channels_last if self.device.type == "cuda" else torch.contiguous_format
        with evaluating(network), autocast(self.device, self.dtype):
            made = network(batch.contiguous(memory_format=layout))
        expected = (len(batch), network.out_channels, *batch.shape[2:])
        assert made.shape == expected, f"{type(network).__name__} made {tuple(made.shape)} and not {expected}"
        return made.float()


@contextlib.contextmanager
def evaluating(network: object) -> Iterator[None]:
    """Temporary evaluation mode (no dropout, fixed running statistics) for a network lent by a trainer."""
    if not (isinstance(network, nn.Module) and network.training):
        yield
        return
    network.eval()
    try:
        yield
    finally:
        network.train()


def _check_range(low: float, high: float, bottom: int, top: int, what: str) -> None:
    slack = SLACK * (top - bottom)
    if not (bottom - slack <= low and high <= top + slack):  # NaN fails too
        raise ValueError(f"{what} of a picture in floats lies in [{bottom}, {top}], not in [{low:g}, {high:g}]")
