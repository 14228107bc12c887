"""What is fuzzed: readers of files that may come from anybody, and valid files to begin with.

A target is given the content of a file and must either be content with it or raise `CycleganError`. Everything else
that comes out of it is a finding: another exception, a warning, a process that ends, hangs or takes much memory.
"""

from __future__ import annotations

import atexit
import io
import json
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import yaml
from hypothesis import strategies as st
from PIL import Image

from cyclegan.cli.train import read_config_file
from cyclegan.config import PRESETS, TrainConfig, flatten, resolve
from cyclegan.data.transforms import read_pipeline
from cyclegan.errors import CycleganError
from cyclegan.evaluation.metrics.label_maps import read_colours
from cyclegan.evaluation.selection import read_best
from cyclegan.images import decode_picture, open_regions, read_header, regions
from cyclegan.methods import options_of
from cyclegan.models import load_discriminators, load_model, save_model, weights_sha256
from cyclegan.models.export.junyanz import load_reference, write_reference
from cyclegan.models.safe_torch import read_torch
from cyclegan.networks import build_generator
from cyclegan.report.comparison import compare
from cyclegan.report.images import embed
from cyclegan.report.page import _context, render, write_page
from cyclegan.report.run_record import read_record
from cyclegan.system.files import file_sha256
from cyclegan.training import train
from cyclegan.training.storage.checkpoint import read_state
from cyclegan.training.storage.run_directory import read_config, read_data_record
from cyclegan.translation import Translator
from cyclegan.translation.job.archive import members
from tests.fuzz.mutations import DEEP, bytes_like, dumped, edit, edited
from tests.images.kinds import KINDS
from tests.models.examples import INFO, generators, state
from tests.training.conftest import TINY

PIXELS = 10**6  # what a picture may have here, so that a try is quick


@dataclass(frozen=True)
class Target:
    """A reader, and inputs for it."""

    run: Callable[[bytes, Path], None]  # the input, and an empty folder
    inputs: Callable[[], st.SearchStrategy[bytes]]
    in_ci: int  # tries of it in the tests; the slow ones get fewer


@cache
def _narrow() -> Any:
    torch.manual_seed(0)
    return {"ab": build_generator("resnet_6blocks", channels=1).eval()}


@cache
def _generators() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder) / "model", _narrow(), info=INFO | {"ranges": RANGES})
        return (Path(folder) / "model").read_bytes()


RANGES = {"a": "100,4000", "b": "0,65535", "dtype": "uint16"}


def _about() -> Any:
    return {
        "specs": {way: dict(network.spec) for way, network in _narrow().items()},
        "info": INFO | {"ranges": RANGES},
        "metadata": {"format": "cyclegan-generators", "version": "1"},
    }


def use(model: Path) -> None:
    """What commands do with a model."""
    loaded = load_model(model)
    load_discriminators(model)
    for direction in loaded.generators:
        Translator.load(model, direction=direction, device="cpu", precision="fp32")
    json.dumps(loaded.info)


def _run_generators(data: bytes, folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(data)
    use(folder / "model.safetensors")


def _run_signed(data: bytes, folder: Path) -> None:
    """A generators file that says something else of itself, under a right checksum."""
    from safetensors.torch import save

    about = edit(_about(), data)
    weights = {f"ab.{name}": value for name, value in _narrow()["ab"].state_dict().items()}
    texts = {name: dumped(about.get(name) if isinstance(about, dict) else about) for name in ("specs", "info")}
    more = about.get("metadata") if isinstance(about, dict) else None
    more = more if isinstance(more, dict) else {}
    metadata = {str(name): str(value) for name, value in more.items()} | texts
    try:
        metadata["sha256"] = weights_sha256(weights, f"{texts['specs']}\0{texts['info']}\0")
        content = save(weights, metadata)
    except UnicodeEncodeError:
        return  # half a surrogate pair, which no such file can hold
    _run_generators(content, folder)


@cache
def _state() -> dict[str, Any]:
    torch.manual_seed(0)
    return state(average=3) | {"ranges": RANGES}


@cache
def _saved() -> bytes:
    stream = io.BytesIO()
    torch.save(_state(), stream)
    return stream.getvalue()


def _use_state(content: bytes, folder: Path) -> None:
    path = folder / "run" / "checkpoints" / "state-00000007.pt"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    path.with_name(path.name + ".sha256").write_text(f"{file_sha256(path)}  {path.name}\n")
    found: list[Exception] = []
    for read in (use, read_state):
        try:
            read(path)
        except CycleganError as error:
            found.append(error)
    if found:
        raise found[0]


def _run_pickle(data: bytes, folder: Path) -> None:
    """A state whose pickle is other bytes, under right checksums."""
    _use_state(with_pickle(_saved(), data), folder)


def with_pickle(archive: bytes, data: bytes) -> bytes:
    """A file by torch.save with another pickle in it."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as before, zipfile.ZipFile(stream, "w") as after:
        for part in before.infolist():
            after.writestr(part.filename, data if part.filename.endswith("data.pkl") else before.read(part))
    return stream.getvalue()


@cache
def _pickled() -> bytes:
    with zipfile.ZipFile(io.BytesIO(_saved())) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))


def _skeleton() -> Any:
    """A state with a word in place of each tensor."""
    return json.loads(json.dumps(_state(), default=lambda value: "tensor"))


def _run_values(data: bytes, folder: Path) -> None:
    """A state with other values in it, under a right checksum."""
    content = _with_tensors(edit(_skeleton(), data), _state())
    stream = io.BytesIO()
    try:
        torch.save(content, stream)
    except (RecursionError, UnicodeEncodeError):
        return  # nobody can have saved that
    _use_state(stream.getvalue(), folder)


@cache
def _trained() -> tuple[TrainConfig, bytes]:
    """The smallest run, and its directory after four steps, packed: a state is between two rows of its journal."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for domain in "ab":
        (folder / domain).mkdir()
        for number in range(2):
            shade = (90 * number, 200, 40 if domain == "a" else 160)
            Image.new("RGB", (24, 24), shade).save(folder / domain / f"{number}.png")
    values = TINY | {"channels": 1, "crop_size": 24, "load_size": 24, "log_every": 2, "state_every": 3}
    config = TrainConfig(**values | {"a": str(folder / "a"), "b": str(folder / "b"), "steps": 4, "evaluate_every": 0})
    train(config, folder / "run")
    return config, _packed(folder / "run")


def _packed(folder: Path) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.add(folder, ".")
    return stream.getvalue()


@cache
def _kept() -> dict[str, Any]:
    """The state of that run."""
    with tarfile.open(fileobj=io.BytesIO(_trained()[1])) as archive:
        file = archive.extractfile("./checkpoints/state-00000003.pt")
        assert file is not None
        return read_torch(io.BytesIO(file.read()))


def _words(value: Any) -> Any:
    """Nested dicts and lists with a word in place of each tensor."""
    if isinstance(value, dict):
        return {name: _words(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_words(item) for item in value]
    return "tensor" if isinstance(value, torch.Tensor) else value


def _run_resumed(data: bytes, folder: Path) -> None:
    """A run that is gone on with from a state with other values in it, under a right checksum."""
    config, packed = _trained()
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder / "run", filter="data")
    path = folder / "run/checkpoints/state-00000003.pt"
    stream = io.BytesIO()
    try:
        torch.save(_with_tensors(edit(_words(_kept()), data), _kept()), stream)
    except (RecursionError, UnicodeEncodeError):
        return  # nobody can have saved that
    path.write_bytes(stream.getvalue())
    path.with_name(path.name + ".sha256").write_text(f"{file_sha256(path)}  {path.name}\n")
    for later in path.parent.glob("state-00000004.pt*"):
        later.unlink()
    train(replace(config, steps=6), folder / "run")


def _with_tensors(value: Any, whole: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_tensors(item, whole.get(name) if isinstance(whole, dict) else None)
                for name, item in value.items()}  # fmt: skip
    if isinstance(value, list) and isinstance(whole, list):
        return [_with_tensors(item, whole[number] if number < len(whole) else None)
                for number, item in enumerate(value)]  # fmt: skip
    if value == DEEP:
        return torch.zeros(2, dtype=torch.complex64)
    if value == "tensor":
        return whole if isinstance(whole, torch.Tensor) else torch.zeros(2, dtype=torch.complex64)
    return value


@cache
def _reference() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return write_reference(folder, {"ab": generators()["ab"]})[0].read_bytes()


def _run_reference(data: bytes, folder: Path) -> None:
    (folder / "latest_net_G_A.pth").write_bytes(data)
    load_reference(folder)


@cache
def _config() -> str:
    return yaml.safe_dump(flatten(resolve([PRESETS["paper"]]), options_of("cyclegan")))


CONFIGS = [
    b"preset: fast\nbatch-size: 4\nlr_generator: 2e-4\n",
    b"a: x\nb: y\nsteps: 10\ndecay_steps: 5\nlambda_cycle: 10\n",
    b"a: &a [1, 2]\nb: *a\n",
    b"<<: {a: 1}\nseed: 0x10\n",
    b"a: !!binary aGVsbG8=\nb: 2001-01-01\nseed: 1:30\n",
]


def _run_config(data: bytes, folder: Path) -> None:
    (folder / "run.yaml").write_bytes(data)
    layer = read_config_file(folder / "run.yaml")
    layer.pop("preset", None)
    resolve([PRESETS["demo"], layer], options_of("cyclegan"))


PIPELINES = [
    b"- HorizontalFlip: {p: 0.5}\n- RandomCrop: {height: 256, width: 256}\n",
    b"- OneOf:\n  - GaussianBlur: {blur_limit: [3, 7]}\n  - RandomBrightnessContrast\n",
    b"transform:\n  __class_fullname__: Compose\n  transforms:\n  - __class_fullname__: HorizontalFlip\n    p: 0.5\n",
]


def _run_pipeline(data: bytes, folder: Path) -> None:
    (folder / "augment.yaml").write_bytes(data)
    read_pipeline(folder / "augment.yaml")


def _run_colours(data: bytes, folder: Path) -> None:
    (folder / "colours.yaml").write_bytes(data)
    read_colours(folder / "colours.yaml")


ROWS = b"".join(
    json.dumps(row).encode() + b"\n"
    for row in (
        {"step": 20, "time": 1.5, "loss/generator": 3.5, "loss/discriminator": 0.5, "speed/images_per_second": 2.0},
        {"step": 40, "time": 2.5, "loss/generator": None, "samples/a2b": "samples/a2b-00000040.png"},
        {"step": 60, "time": 3.5, "alarm/collapse": "all alike", "alarm_figure/collapse": 0.1, "evaluation/kid_ab": 1},
    )
)
FIGURES = {"kid_ab": 0.1, "fid_ba": 20.0, "judge_ab": 0.5, "cycle_l1_a": 0.2}
PROTOCOL = {"size": 64, "seed": 0, "judge": {"sha256": "x"}, "pictures": {"held out A": {"count": 2}}}
ENTRY = {"name": "x.png", "judge": 0.5, "cycle_l1": 0.1, "source": "s.png", "fake": "f.png", "rec": None}
RECORDS: dict[str, Any] = {
    "meta.json": {
        "tracking_id": "abcdefgh", "created": 1.5, "cyclegan": "0.1", "python": "3.11", "platform": "Linux",
        "packages": {"torch": "2.11", "wandb": None}, "git_commit": None, "command": ["cyclegan", "train"],
        "data_fingerprint": "f" * 64, "pictures": {"train_a": 4, "train_b": 4, "test_a": 2, "test_b": 2},
    },
    "status.json": {"status": "running", "step": 60, "steps": 100, "reason": "", "time": 3.5},
    "pictures.json": {"channels": {"a": 3, "b": 1}, "ranges": {"a": "full", "b": "0,4095", "dtype": None}},
    "best.json": {
        "kid": {"step": 60, "value": 0.1, "better": "lower", "file": "checkpoints/best-kid.safetensors",
                "figures": FIGURES, "judge": "x", "chosen_on": {"a": 2}},
    },
    "evaluation.json": {
        "step": 60, "metrics": FIGURES, "protocol": PROTOCOL, "model": "last", "file": "checkpoints/x",
        "figures": FIGURES, "judge": {"accuracy": 0.9},
    },
    "gallery/gallery.json": {
        "step": 60, "which": "last", "size": 64, "count": {"ab": 1, "ba": 0}, "ba": [],
        "ab": [ENTRY | {"group": "best"}],
    },
}  # fmt: skip


def _run_record(name: str) -> Callable[[bytes, Path], None]:
    def run(data: bytes, folder: Path) -> None:
        if name in RECORDS:
            data = dumped(edit(RECORDS[name], data)).encode()
        _use_record(name, data, folder)

    return run


def _use_record(name: str, data: bytes, folder: Path) -> None:
    for run in (folder / "one", folder / "other"):
        for file, content in {
            "config.yaml": _config().encode(),
            "metrics.jsonl": ROWS,
            **{file: json.dumps(value).encode() for file, value in RECORDS.items()},
        }.items():
            (run / file).parent.mkdir(parents=True, exist_ok=True)
            (run / file).write_bytes(data if file == name and run.name == "one" else content)
    found: list[Exception] = []
    record = read_record(folder / "one")
    record.series.clear()  # drawing takes a second; that of numbers is tested elsewhere
    write_page(folder / "report.html", render("report.html", **_context(record)))
    compare([folder / "one", folder / "other"]).as_json()
    for read in (read_best, read_config, read_data_record):
        try:
            read(folder / "one")
        except CycleganError as error:
            found.append(error)
    if found:
        raise found[0]


def _run_embedded(data: bytes, folder: Path) -> None:
    (folder / "picture.png").write_bytes(data)
    embed(folder / "picture.png")


def _run_picture(data: bytes, folder: Path) -> None:
    path = folder / "picture"
    path.write_bytes(data)
    found: list[Exception] = []
    for read in (
        lambda: decode_picture(data, path, max_pixels=PIXELS),
        lambda: read_header(path, max_pixels=PIXELS),
        lambda: _corner(path),
    ):
        try:
            read()
        except CycleganError as error:
            found.append(error)
    if found:
        raise found[0]


def _corner(path: Path) -> None:
    """The upper left pixel, by the reader of parts, which small pictures are usually too small for."""
    with mock.patch.object(regions, "SMALL", 0), open_regions(path, max_pixels=PIXELS) as opened:
        opened.read(0, 0, 1, 1)


def _pictures(*beginnings: str) -> Callable[[], st.SearchStrategy[bytes]]:
    seeds = [kind.data for kind in KINDS if kind.name.startswith(beginnings)]
    assert seeds, beginnings
    return lambda: bytes_like(seeds)


def _png() -> bytes:
    return next(kind.data for kind in KINDS if kind.name == "png-RGB")


@cache
def _archive() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for number, name in enumerate(("a.png", "folder/b.png", "c" * 120 + ".png")):
            entry = tarfile.TarInfo(name)
            entry.size = 10 + number
            archive.addfile(entry, io.BytesIO(bytes(entry.size)))
    return stream.getvalue()


def _run_archive(data: bytes, folder: Path) -> None:
    (folder / "pictures.tar").write_bytes(data)
    for member in members(folder / "pictures.tar"):
        assert member.failure() is not None or not Path(member.name).is_absolute()


def _edits(seed: Callable[[], Any]) -> Callable[[], st.SearchStrategy[bytes]]:
    return lambda: edited(seed())


TARGETS: dict[str, Target] = {
    "generators": Target(_run_generators, lambda: bytes_like([_generators()]), 40),
    "generators-signed": Target(_run_signed, _edits(_about), 60),
    "state": Target(_use_state, lambda: bytes_like([_saved()]), 15),
    "state-pickle": Target(_run_pickle, lambda: bytes_like([_pickled()]), 20),
    "state-values": Target(_run_values, _edits(_skeleton), 20),
    "state-resumed": Target(_run_resumed, _edits(lambda: _words(_kept())), 12),
    "reference": Target(_run_reference, lambda: bytes_like([_reference()]), 20),
    "config": Target(_run_config, lambda: bytes_like([*CONFIGS, _config().encode()]), 60),
    "augment": Target(_run_pipeline, lambda: bytes_like(PIPELINES), 40),
    "labels": Target(_run_colours, lambda: bytes_like([b"road: [128, 64, 128]\nsky: [1, 2, 3]\n"]), 40),
    "metrics.jsonl": Target(_run_record("metrics.jsonl"), lambda: bytes_like([ROWS]), 20),
    "config.yaml": Target(_run_record("config.yaml"), lambda: bytes_like([_config().encode()]), 10),
    **{name: Target(_run_record(name), _edits(lambda name=name: RECORDS[name]), 20) for name in RECORDS},
    "png": Target(_run_picture, _pictures("png"), 60),
    "jpeg": Target(_run_picture, _pictures("jpeg"), 60),
    "webp": Target(_run_picture, _pictures("webp"), 40),
    "tiff": Target(_run_picture, _pictures("tiff"), 80),
    "gif-bmp": Target(_run_picture, _pictures("gif", "bmp"), 60),
    "avif-jp2": Target(_run_picture, _pictures("avif", "jp2"), 40),
    "npy-ppm": Target(_run_picture, _pictures("npy", "ppm"), 80),
    "report-png": Target(_run_embedded, lambda: bytes_like([_png()]), 40),
    "archive": Target(_run_archive, lambda: bytes_like([_archive()]), 60),
}  # fmt: skip
