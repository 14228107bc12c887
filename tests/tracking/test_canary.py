"""A key that is known to the client is found in no file, no message and nothing that is sent, but as what it is for."""

from __future__ import annotations

import base64
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cyclegan.cli import main
from tests import fake_wandb
from tests.cli.program import TINY
from tests.fake_wandb import Service, isolated

CANARY = "c0ffee5ec2e7" + "0123456789abcdef" + "feedc0de4242"  # 40 hexadecimal digits, as a key has


def forms(secret: str) -> list[bytes]:
    """A secret as it is, in base64 wherever it may begin among three bytes, and in hexadecimal."""
    # What shares a group of three bytes with its neighbours, and padding, is left out
    shifted = [base64.b64encode((before + secret).encode()).rstrip(b"=")[4:-4] for before in ("", "x", "xx")]
    return [secret.encode(), secret.encode().hex().encode(), *shifted]


def holders(*places: Path) -> Iterator[Path]:
    """The files with the canary, by content or by name, below some places."""
    for place in places:
        for path in place.rglob("*"):
            content = os.fsencode(path) + (path.read_bytes() if path.is_file() and not path.is_symlink() else b"")
            if any(form in content for form in forms(CANARY)):
                yield path


def train(folder: Callable[..., Path], *words: str) -> object:
    """One tiny training, in this process."""
    a, b = folder("horses", 5, 40), folder("zebras", 4, 40)
    arguments = ["train", *TINY, "--a", str(a), "--b", str(b), "-o", "run", "--evaluate-every", "0", *words]
    sys.argv = ["cyclegan", *arguments]
    logger = logging.getLogger("cyclegan")
    handlers, level = list(logger.handlers), logger.level
    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        logger.handlers = handlers
        logger.setLevel(level)
    return ended.value.code


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, ...]:
    """Every folder that anything could be kept in: of the run, temporary, the cache and the home."""
    found = tuple(tmp_path / name for name in ("here", "tmp", "cache", "home"))
    for place in found:
        place.mkdir()
    here, temporary, cache, home = found
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setattr(tempfile, "tempdir", None)
    for name, value in {"TMPDIR": temporary, "XDG_CACHE_HOME": cache, **isolated(home)}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))  # beside the places that are searched
    return found


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Bodies, addresses and headers that the service is sent, but the header that the key is for."""
    found: list[bytes] = []
    body = fake_wandb._Handler._body

    def listening(self: fake_wandb._Handler) -> bytes:
        content = body(self)
        told = [f"{name}: {value}" for name, value in self.headers.items() if name.lower() != "authorization"]
        found.extend([content, self.path.encode(), "\n".join(told).encode()])
        return content

    monkeypatch.setattr(fake_wandb._Handler, "_body", listening)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("known_by", ["variable", "netrc"])
def test_a_run_online_keeps_the_key_to_itself(
    folder: Callable[..., Path],
    places: tuple[Path, ...],
    received: list[bytes],
    known_by: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with Service() as service:
        monkeypatch.setenv("WANDB_BASE_URL", service.url)
        if known_by == "netrc":
            machine = service.url.removeprefix("http://")
            Path(os.environ["NETRC"]).write_text(f"machine {machine} login user password {CANARY}\n")
        else:
            monkeypatch.setenv("WANDB_API_KEY", CANARY)
        assert train(folder, "--wandb", "online") == 0
    assert service.runs, "the client has not spoken to the service"
    assert list(holders(*places)) == []
    said = "".join(capfd.readouterr()).encode()
    for form in forms(CANARY):
        assert form not in said
        assert not any(form in part for part in received)


@pytest.mark.slow
def test_a_run_offline_keeps_the_key_to_itself(
    folder: Callable[..., Path],
    places: tuple[Path, ...],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", CANARY)
    assert train(folder, "--wandb", "offline") == 0
    assert list(Path("run/wandb").glob("offline-run-*"))
    assert list(holders(*places)) == []
    said = "".join(capfd.readouterr()).encode()
    assert not any(form in said for form in forms(CANARY))


def test_the_canary_would_be_found(tmp_path: Path) -> None:
    for number, content in enumerate(
        [CANARY, base64.b64encode(f"api:{CANARY}".encode()).decode(), f"x{CANARY.encode().hex()}"]
    ):
        (tmp_path / str(number)).write_text(f"some words {content} and others")
    assert len(list(holders(tmp_path))) == 3
