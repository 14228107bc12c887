"""Which pictures belong to domain A, which to B, and which of each are held out."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from cyclegan.config import TrainConfig
from cyclegan.errors import UsageError
from cyclegan.images import EXTENSIONS, list_images

HELD_OUT_AT_LEAST = 8  # enough for a grid of samples, where the share alone would give fewer


@dataclass(frozen=True)
class FileList:
    """Some of the pictures below a folder: relative names with forward slashes, sorted."""

    root: Path
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> Path:
        """Where picture `index` lies."""
        return self.root / self.names[index]


@dataclass(frozen=True)
class PictureSets:
    """The pictures of a run: those it learns from and those it is only looked at with."""

    train_a: FileList
    train_b: FileList
    test_a: FileList
    test_b: FileList
    fingerprint: str  # SHA-256 over all names and sizes in bytes: equal when a resumed run finds the same files
    warnings: tuple[str, ...] = ()

    @property
    def train(self) -> dict[str, FileList]:
        """Pictures to learn from, by domain."""
        return {"a": self.train_a, "b": self.train_b}

    @property
    def test(self) -> dict[str, FileList]:
        """Held-out pictures, by domain."""
        return {"a": self.test_a, "b": self.test_b}


@dataclass(frozen=True)
class _Folder:
    path: Path
    option: str  # what the user called it by, for the words of an error


def find_sets(config: TrainConfig) -> PictureSets:
    """The pictures that `config` names by --a and --b (with --test-a, --test-b) or by --data.

    Without a folder of test pictures a share is held out, see `split`. Raises `UsageError` for folders that are not
    given, not there, no folders, empty, without pictures, or the same twice.
    """
    folders = _folders(config)
    for folder in folders.values():
        _refuse_no_folder(folder)
    _refuse_overlap(folders)
    listed = {role: _list(folder) for role, folder in folders.items()}
    warnings: list[str] = []
    found: dict[str, FileList] = {}
    for domain in "ab":
        train = listed[f"train_{domain}"]
        test = listed.get(f"test_{domain}")
        if test is None:
            train, test = split(train, config.holdout)
        folder = folders[f"train_{domain}"]
        if len(train) == 1:
            also = ", and is shown in the samples too" if test.names == train.names else ""
            warnings.append(
                f"{folder.option}: {folder.path} has only one picture to learn from{also}; "
                "the translator will know nothing else"
            )
        found |= {f"train_{domain}": train, f"test_{domain}": test}
    return PictureSets(**found, fingerprint=_fingerprint(found), warnings=tuple(warnings))


def split(pictures: FileList, holdout: float) -> tuple[FileList, FileList]:
    """`pictures` as those to learn from and those held out, by the SHA-256 of their relative names.

    The hash, as a fraction of 2^256, is a fixed lot that every name draws: held out are those that drew less than
    `holdout`, and the lowest ones beyond that until there are 8 or half of the folder. So it depends neither on the
    machine nor on the order of listing, and where the share alone gives 8 or more, adding pictures moves no old one.
    In a smaller folder an added picture that drew low may send one held-out picture back to learning; only in one
    with fewer than 16, where half is the limit, may the growing half take an old picture out. A holdout of 0 holds
    nothing out. A single picture serves as both.
    """
    count = len(pictures)
    lots = sorted((_lot(name), name) for name in pictures.names)
    held = sum(lot < holdout for lot, _ in lots)
    if holdout > 0:
        held = min(max(held, min(HELD_OUT_AT_LEAST, count // 2)), count - 1)
    chosen = {name for _, name in lots[:held]}
    train = FileList(pictures.root, tuple(name for name in pictures.names if name not in chosen))
    if holdout > 0 and count == 1:
        return train, train
    return train, FileList(pictures.root, tuple(name for name in pictures.names if name in chosen))


def in_hash_order(pictures: FileList) -> list[int]:
    """Indices into `pictures` in the order of the lots their names drew: a mixed but fixed order."""
    return sorted(range(len(pictures)), key=lambda index: (_lot(pictures.names[index]), pictures.names[index]))


def _lot(name: str) -> float:
    digest = hashlib.sha256(os.fsencode(name)).digest()
    return int.from_bytes(digest[:8], "big") / 2**64  # the first 64 bits decide; more are lost in a float anyway


def _folders(config: TrainConfig) -> dict[str, _Folder]:
    if config.data is not None:
        if config.a is not None or config.b is not None:
            raise UsageError("--data and --a, --b name the pictures in two ways; give one of them")
        root = Path(config.data)
        _refuse_no_folder(_Folder(root, "--data"))
        folders = {}
        for role, name in (("train_a", "trainA"), ("train_b", "trainB"), ("test_a", "testA"), ("test_b", "testB")):
            folder = _Folder(root / name, "--data")
            if role.startswith("train") and not folder.path.exists():
                raise UsageError(
                    f"--data: {root} has no folder {name}; it needs trainA and trainB, or give --a and --b instead"
                )
            if folder.path.exists():
                folders[role] = folder
        return folders
    if config.a is None or config.b is None:
        missing = " and ".join(option for option, value in (("--a", config.a), ("--b", config.b)) if value is None)
        raise UsageError(f"no folder of pictures given for {missing}; give --a DIR and --b DIR, or --data DIR")
    named = {
        "train_a": (config.a, "--a"),
        "train_b": (config.b, "--b"),
        "test_a": (config.test_a, "--test-a"),
        "test_b": (config.test_b, "--test-b"),
    }
    return {role: _Folder(Path(path), option) for role, (path, option) in named.items() if path is not None}


def _list(folder: _Folder) -> FileList:
    try:
        if not any(folder.path.iterdir()):
            raise UsageError(f"{folder.option}: {folder.path} is empty; name a folder of pictures")
    except PermissionError:
        raise UsageError(f"{folder.option}: {folder.path} may not be read; change its permissions") from None
    names = list_images(folder.path)
    if not names:
        raise UsageError(
            f"{folder.option}: {folder.path} holds no picture; the formats read are {' '.join(EXTENSIONS)}"
        )
    return FileList(folder.path, tuple(names))


def _refuse_no_folder(folder: _Folder) -> None:
    if not folder.path.exists():
        raise UsageError(f"{folder.option}: {folder.path} does not exist; name a folder of pictures")
    if not folder.path.is_dir():
        raise UsageError(f"{folder.option}: {folder.path} is a file; name the folder it is in")


def _refuse_overlap(folders: dict[str, _Folder]) -> None:
    """No folder may be another or lie in it: domains would share pictures, or tests be learnt from."""
    resolved = {role: folder.path.resolve() for role, folder in folders.items()}
    for role, folder in folders.items():
        for other in folders:
            if other == role or not resolved[role].is_relative_to(resolved[other]):
                continue
            how = "the same folder as" if resolved[role] == resolved[other] else "inside"
            raise UsageError(
                f"{folder.option}: {folder.path} is {how} {folders[other].path} ({folders[other].option}); "
                "each set needs a folder of its own"
            )


def _fingerprint(found: dict[str, FileList]) -> str:
    digest = hashlib.sha256()
    for role, pictures in sorted(found.items()):
        for name in pictures.names:
            try:
                size = os.stat(pictures.root / name).st_size
            except OSError:  # a link to nowhere; training says so when it comes to it
                size = -1
            digest.update(b"%s\0%s\0%d\n" % (role.encode(), os.fsencode(name), size))
    return digest.hexdigest()
