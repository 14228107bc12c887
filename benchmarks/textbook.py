"""CycleGAN as the paper reads, written the obvious way: the baseline that everything else is measured against.

Zhu et al. 2017 (https://arxiv.org/abs/1703.10593), section 4 and the appendix, in layers that PyTorch ships: eager,
fp32, NCHW, every forward by itself, Adam as it comes. Nothing here is slow on purpose and nothing is tuned. It plays
the same game as `cyclegan.methods.CycleGAN`, step for step, once it has been given the same weights (`load_ours`).
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from cyclegan.methods import Method

BLOCKS = {"resnet_6blocks": 6, "resnet_9blocks": 9}
LAMBDA_CYCLE, LAMBDA_IDENTITY = 10.0, 0.5  # the second relative to the first
LEARNING_RATE, BETAS = 2e-4, (0.5, 0.999)
POOL_SIZE = 50


class Residual(nn.Module):
    """R256: x plus two reflected 3×3 convolutions of it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3),
            nn.InstanceNorm2d(width),
            nn.ReLU(True),
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3),
            nn.InstanceNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def build_generator(channels: int, blocks: int) -> nn.Sequential:
    """c7s1-64, d128, d256, R256 × `blocks`, u128, u64, c7s1-3: NCHW in [-1, 1], sides multiples of 4, to the same."""
    layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(3, channels, 7), *_norm_relu(channels)]
    for width in (channels, channels * 2):
        layers += [nn.Conv2d(width, width * 2, 3, stride=2, padding=1), *_norm_relu(width * 2)]
    layers += [Residual(channels * 4) for _ in range(blocks)]
    for width in (channels * 2, channels):
        up = nn.ConvTranspose2d(width * 2, width, 3, stride=2, padding=1, output_padding=1)
        layers += [up, *_norm_relu(width)]
    layers += [nn.ReflectionPad2d(3), nn.Conv2d(channels, 3, 7), nn.Tanh()]
    return nn.Sequential(*layers).apply(_initialise)


def build_discriminator(channels: int) -> nn.Sequential:
    """C64-C128-C256-C512 and a verdict per 70×70 patch: NCHW in [-1, 1] to (N, 1, h/8 - 2, w/8 - 2)."""
    layers: list[nn.Module] = [nn.Conv2d(3, channels, 4, stride=2, padding=1), nn.LeakyReLU(0.2, True)]
    for width, stride in ((channels, 2), (channels * 2, 2), (channels * 4, 1)):
        layers += [
            nn.Conv2d(width, width * 2, 4, stride=stride, padding=1),
            nn.InstanceNorm2d(width * 2),
            nn.LeakyReLU(0.2, True),
        ]
    layers.append(nn.Conv2d(channels * 8, 1, 4, stride=1, padding=1))
    return nn.Sequential(*layers).apply(_initialise)


def _norm_relu(width: int) -> tuple[nn.Module, nn.Module]:
    return nn.InstanceNorm2d(width), nn.ReLU(True)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        assert module.bias is not None
        nn.init.zeros_(module.bias)


class Pool:
    """Up to 50 earlier fakes; once full, a coin decides for each new one whether it is swapped for an old one."""

    def __init__(self) -> None:
        self.pictures: list[Tensor] = []

    def query(self, fakes: Tensor) -> Tensor:
        """NCHW fakes to as many new or old ones. The coins are torch's, drawn as `ImagePool` draws them."""
        chosen = []
        for fake, (coin, lot) in zip(fakes.detach(), torch.rand(len(fakes), 2).tolist(), strict=True):
            slot = int(lot * POOL_SIZE)
            if len(self.pictures) < POOL_SIZE:
                self.pictures.append(fake)
                chosen.append(fake)
            elif coin < 0.5:
                chosen.append(fake)
            else:
                chosen.append(self.pictures[slot])
                self.pictures[slot] = fake
        return torch.stack(chosen)


class Textbook:
    """The two generators, the two discriminators, and one step of the game between them."""

    def __init__(self, *, channels: int, blocks: int, device: torch.device | str = "cpu") -> None:
        self.g_ab = build_generator(channels, blocks).to(device)
        self.g_ba = build_generator(channels, blocks).to(device)
        self.d_a = build_discriminator(channels).to(device)
        self.d_b = build_discriminator(channels).to(device)
        self.pool_a, self.pool_b = Pool(), Pool()
        self.generators = [*self.g_ab.parameters(), *self.g_ba.parameters()]
        self.discriminators = [*self.d_a.parameters(), *self.d_b.parameters()]
        self.g_optimizer = torch.optim.Adam(self.generators, lr=LEARNING_RATE, betas=BETAS)
        self.d_optimizer = torch.optim.Adam(self.discriminators, lr=LEARNING_RATE, betas=BETAS)
        self.mse, self.l1 = nn.MSELoss(), nn.L1Loss()

    def load_ours(self, method: Method) -> None:
        """Take over the weights of a `CycleGAN` method of the same width and depth, in the order they stand in."""
        load_weights(self.g_ab, method.generators["ab"])
        load_weights(self.g_ba, method.generators["ba"])
        load_weights(self.d_a, method.discriminators["a"])
        load_weights(self.d_b, method.discriminators["b"])

    def step(self, real_a: Tensor, real_b: Tensor) -> dict[str, Tensor]:
        """One update of each side on NCHW pictures in [-1, 1]; the losses by our names, detached, on the device."""
        fake_b, fake_a = self.g_ab(real_a), self.g_ba(real_b)
        rec_a, rec_b = self.g_ba(fake_b), self.g_ab(fake_a)
        identity_a, identity_b = self.g_ba(real_a), self.g_ab(real_b)

        self._discriminators_learn(False)
        self.g_optimizer.zero_grad()
        verdict_a, verdict_b = self.d_a(fake_a), self.d_b(fake_b)
        losses = {
            "adversarial_a": self.mse(verdict_a, torch.ones_like(verdict_a)),
            "cycle_a": LAMBDA_CYCLE * self.l1(rec_a, real_a),
            "identity_a": LAMBDA_CYCLE * LAMBDA_IDENTITY * self.l1(identity_a, real_a),
            "adversarial_b": self.mse(verdict_b, torch.ones_like(verdict_b)),
            "cycle_b": LAMBDA_CYCLE * self.l1(rec_b, real_b),
            "identity_b": LAMBDA_CYCLE * LAMBDA_IDENTITY * self.l1(identity_b, real_b),
        }
        sum(losses.values(), torch.zeros((), device=real_a.device)).backward()
        self.g_optimizer.step()

        self._discriminators_learn(True)
        self.d_optimizer.zero_grad()
        losses["discriminator_a"] = self._discriminate(self.d_a, real_a, self.pool_a.query(fake_a))
        losses["discriminator_b"] = self._discriminate(self.d_b, real_b, self.pool_b.query(fake_b))
        self.d_optimizer.step()
        return {name: value.detach() for name, value in losses.items()}

    def _discriminate(self, discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        on_real, on_fake = discriminator(real), discriminator(fake)
        loss = 0.5 * self.mse(on_real, torch.ones_like(on_real)) + 0.5 * self.mse(on_fake, torch.zeros_like(on_fake))
        loss.backward()
        return loss

    def _discriminators_learn(self, learn: bool) -> None:
        for parameter in self.discriminators:
            parameter.requires_grad_(learn)


def load_weights(network: nn.Module, ours: nn.Module) -> None:
    """Copy the weights of `ours` into `network`, whose convolutions come in the same order."""
    theirs, mine = list(ours.parameters()), list(network.parameters())
    shapes = [[tuple(weight.shape) for weight in weights] for weights in (mine, theirs)]
    assert shapes[0] == shapes[1], f"not the textbook's layout: {shapes[1]} for {shapes[0]}"
    with torch.no_grad():
        for weight, source in zip(mine, theirs, strict=True):
            weight.copy_(source)


class UnpairedFolders(Dataset[dict[str, Tensor]]):
    """Picture n of A with a random one of B, each resized, cut, mirrored at random and normalised: CHW in [-1, 1]."""

    def __init__(self, folder_a: Path, folder_b: Path, load_size: int, crop_size: int) -> None:
        self.paths_a, self.paths_b = (sorted(folder.iterdir()) for folder in (folder_a, folder_b))
        self.load_size, self.crop_size = load_size, crop_size

    def __len__(self) -> int:
        return max(len(self.paths_a), len(self.paths_b))

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        a = self.paths_a[index % len(self.paths_a)]
        return {"a": self._load(a), "b": self._load(random.choice(self.paths_b))}

    def _load(self, path: Path) -> Tensor:
        with Image.open(path) as opened:
            picture = opened.convert("RGB").resize((self.load_size, self.load_size), Image.Resampling.BICUBIC)
        left, top = (random.randint(0, self.load_size - self.crop_size) for _ in range(2))
        picture = picture.crop((left, top, left + self.crop_size, top + self.crop_size))
        if random.random() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return to_tensor(picture)


def build_loader(
    folder_a: Path, folder_b: Path, *, load_size: int, crop_size: int, batch_size: int, workers: int
) -> DataLoader[dict[str, Tensor]]:
    """Batches {"a", "b": float NCHW in [-1, 1]} of a shuffled pass over the larger folder."""
    dataset = UnpairedFolders(folder_a, folder_b, load_size, crop_size)
    return DataLoader(dataset, batch_size=batch_size, shuffle=True, num_workers=workers)


def to_tensor(picture: Image.Image) -> Tensor:
    """An RGB picture to float CHW in [-1, 1]."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous().float() / 127.5 - 1


def to_picture(made: Tensor) -> Image.Image:
    """CHW in [-1, 1] to an RGB picture."""
    pixels = ((made + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().contiguous().numpy())


@torch.no_grad()
def translate_picture(generator: nn.Module, picture: Image.Image, device: torch.device) -> Image.Image:
    """One RGB picture, sides multiples of 4, through the generator."""
    return to_picture(generator(to_tensor(picture)[None].to(device))[0])


def translate_folder(generator: nn.Module, source: Path, dest: Path, device: torch.device) -> None:
    """Every picture of `source`, one after the other, to a PNG of the same stem in `dest`."""
    for path in sorted(source.iterdir()):
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
        translate_picture(generator, picture, device).save(dest / f"{path.stem}.png")
