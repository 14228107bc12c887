import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from cyclegan.models.safe_torch import read_torch
from tests.fuzz.targets import with_pickle
from tests.support.programs import run_python


def saved(content: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


WHOLE = saved({"a": torch.zeros(4), "b": OrderedDict(c=(1, 2.5, None, True, "text"))})


def tensor(size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """A file with one tensor that says that it is `size` large; four numbers lie in it."""

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", value) for value in values) + b"t"

    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x04tQ"
    rebuilt = storage + b"K\0" + numbers(size) + numbers(stride) + b"\x89ccollections\nOrderedDict\n)R"
    return with_pickle(WHOLE, b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + rebuilt + b"tR.")


def laughs(levels: int) -> Any:
    value: Any = ["ha"] * 10
    for _ in range(levels):
        value = [value] * 10
    return value


def circle() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


def nested(levels: int) -> bytes:
    return with_pickle(WHOLE, b"\x80\x02" + b"]" * levels + b"a" * (levels - 1) + b".")


def squeezed() -> bytes:
    """256 MiB of zeros in one, which torch would unpack without asking."""
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(WHOLE)) as before,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as after,
    ):
        for part in before.infolist():
            with after.open(part.filename, "w", force_zip64=True) as out:
                if part.filename.endswith("data/0"):
                    for _ in range(2**8):
                        out.write(bytes(2**20))
                else:
                    out.write(before.read(part))
    return stream.getvalue()


BOMBS = {
    "numbers that repeat": (lambda: tensor((2**16, 2**16), (0, 0)), "its tensors are larger than the file"),
    "numbers that are not there": (lambda: tensor((2**40,), (1,)), "."),
    "lists of lists": (lambda: saved({"config": laughs(9)}), "more values than it holds"),
    "a circle": (lambda: saved(circle()), "nested too deep"),
    "a long way down": (lambda: nested(50_000), "nested too deep"),
    "a number of many digits": (lambda: saved({"step": 10**5000}), "."),
    "sparse": (lambda: saved(torch.zeros(4).to_sparse()), "."),
    "on no device": (lambda: saved(torch.zeros(2**10, 2**10, device="meta")), "."),
}


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("name", BOMBS)
def test_what_would_grow_is_refused_before_it_does(tmp_path: Path, name: str, mmap: bool) -> None:
    make, words = BOMBS[name]
    (tmp_path / "state").write_bytes(make())
    with pytest.raises((ValueError, pickle.UnpicklingError), match=words):
        read_torch(tmp_path / "state" if mmap else io.BytesIO(make()), mmap=mmap)


@pytest.mark.slow
def test_parts_that_swell_take_no_memory(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(squeezed())
    code = (
        "import io, re, resource, sys\nfrom pathlib import Path\nfrom cyclegan.models.safe_torch import read_torch\n"
        "def peak(): return int(re.search(r'VmHWM:\\s*(\\d+)', Path('/proc/self/status').read_text())[1])\n"
        "before = peak()\n"
        "for file in (Path(sys.argv[1]), io.BytesIO(Path(sys.argv[1]).read_bytes())):\n"
        "    try: read_torch(file)\n"
        "    except ValueError as error: print(error)\n"
        "print(peak() - before)"
    )
    done = run_python(code, tmp_path / "state")
    *reasons, grown = done.stdout.splitlines()
    assert reasons == ["its parts are compressed, as torch never writes them"] * 2
    assert int(grown) < 100_000, "kilobytes"


@pytest.mark.parametrize(
    "asked", ["os system", "builtins eval", "builtins bytearray", "_codecs encode", "torch Tensor", "torch load"]
)
def test_only_what_weights_are_made_of_may_be_asked_for(asked: str) -> None:
    module, name = asked.split()
    data = with_pickle(WHOLE, f"\x80\x02c{module}\n{name}\nX\x04\0\0\0true\x85R.".encode("latin1"))
    with pytest.raises(pickle.UnpicklingError, match=asked):
        read_torch(io.BytesIO(data))


def test_tensors_and_plain_values_come_back_as_they_were(tmp_path: Path) -> None:
    content = {"a": torch.arange(4.0), "b": OrderedDict(c=(1, 2.5, None, True, "text")), "d": torch.float16}
    (tmp_path / "state").write_bytes(saved(content))
    for mmap in (True, False):
        found = read_torch(tmp_path / "state", mmap=mmap)
        assert torch.equal(found.pop("a"), content["a"])
        assert found == {name: value for name, value in content.items() if name != "a"}


def test_tensors_may_share_their_numbers_as_those_of_a_sliced_batch_do() -> None:
    batch = torch.zeros(8, 100)
    found = read_torch(io.BytesIO(saved({"whole": batch, "pictures": list(batch), "again": batch})))
    assert len(found["pictures"]) == 8


def test_files_of_before_there_were_archives_are_read_where_that_is_asked_for() -> None:
    stream = io.BytesIO()
    torch.save({"a": torch.ones(2)}, stream, _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match="not an archive"):
        read_torch(stream)
    stream.seek(0)
    assert read_torch(stream, archive=False)["a"].sum() == 2
