"""The pictures of each domain, split into training and held-out ones."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path
from typing import NamedTuple

from cyclegan.config import TrainConfig
from cyclegan.data.pairing import PAIRINGS, Pairing, Unpaired
from cyclegan.errors import UsageError
from cyclegan.images import EXTENSIONS, escaped, list_images

HELD_OUT_AT_LEAST = 8  # enough for a grid of samples, where the share alone would give fewer
_LISTED = 5  # names in a warning


@dataclass(frozen=True)
class FileList:
    """Pictures below a folder: relative names with forward slashes, in order."""

    root: Path
    names: tuple[str, ...]
    key: Callable[[str], str] = Unpaired.key  # the part of a name that is hashed, the same for a pair

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> Path:
        """The path of picture `index`."""
        return self.root / self.names[index]


@dataclass(frozen=True)
class PictureSets:
    """The pictures of a run by domain: those for training and those that are held out."""

    train: Mapping[str, FileList]
    test: Mapping[str, FileList]
    fingerprint: str  # SHA-256 over all names and sizes in bytes: equal when a resumed run finds the same files
    warnings: tuple[str, ...] = ()
    pairing: str = "unpaired"  # a name in `PAIRINGS`

    @property
    def by_role(self) -> dict[str, FileList]:
        """All of them by role and domain, as the files of a run name them."""
        roles = (("train", self.train), ("test", self.test))
        return {f"{role}_{domain}": pictures for role, found in roles for domain, pictures in found.items()}


def steps_per_epoch(sets: PictureSets, batch_size: int) -> int:
    """Steps of one pass over the larger folder; `batch_size` counts the pictures of a domain over all ranks."""
    return max(max(map(len, sets.train.values())) // batch_size, 1)


class _Folder(NamedTuple):
    path: Path
    option: str  # that names it, for errors


def find_sets(config: TrainConfig, domains: Sequence[str], pairing: str) -> PictureSets:
    """The pictures of `domains` that `config` names by --a, --b, … (with --test-a, …) or by --data.

    `pairing` is a name in `PAIRINGS`; pictures without a partner are left out with a warning. Without a folder of test
    pictures a share is held out, see `split`. Raises `UsageError` for folders that are not given, not read by the
    method, missing, not folders, empty, without pictures, or the same twice, and for pictures that cannot be paired.
    """
    kind = PAIRINGS[pairing]
    train_folders, test_folders = _folders(config, domains)
    folders = [*train_folders.values(), *test_folders.values()]
    for folder in folders:
        require_folder(*folder)
    _refuse_overlap(folders)
    if kind.whole and 0 < len(test_folders) < len(domains):
        given = next(iter(test_folders.values()))
        lacking = next(domain for domain in domains if domain not in test_folders)
        raise UsageError(
            f"{given.option}: {given.path} holds one side of pairs; give held-out pictures of {lacking.upper()} too, "
            "or none of either"
        )
    warnings: list[str] = []
    train, test = (_listed(found, kind, warnings) for found in (train_folders, test_folders))
    for domain in domains:
        if domain not in test:
            train[domain], test[domain] = split(train[domain], config.holdout)
        folder = train_folders[domain]
        if len(train[domain]) == 1:
            also = ", which is also shown in the samples" if test[domain].names == train[domain].names else ""
            warnings.append(
                f"{folder.option}: {folder.path} has only one training picture{also}; "
                "the translator will know nothing else"
            )
    sets = PictureSets(train, {domain: test[domain] for domain in domains}, "", tuple(warnings), pairing)
    return replace(sets, fingerprint=_fingerprint(sets.by_role))


def split(pictures: FileList, holdout: float) -> tuple[FileList, FileList]:
    """Split into training and held-out pictures by the SHA-256 of the keys of their names.

    Pictures whose hash, as a fraction of 2^256, is below `holdout` are held out, and beyond that those with the lowest
    hashes until there are 8 or half of the folder. So the split depends neither on the machine nor on the order of
    listing, and where the share alone gives 8 or more, adding pictures moves no old one. In a smaller folder an added
    picture with a low hash may move one held-out picture back to training; only in one with fewer than 16, where half
    is the limit, may the growing half hold out an old one. A `holdout` of 0 holds out none; a lone picture is in both.
    """
    count = len(pictures)
    held = sum(_hash(pictures.key(name)) < holdout for name in pictures.names)
    if holdout > 0:
        held = min(max(held, min(HELD_OUT_AT_LEAST, count // 2)), count - 1)
    chosen = set(in_hash_order(pictures)[:held])
    train, test = (
        replace(pictures, names=tuple(name for index, name in enumerate(pictures.names) if (index in chosen) is out))
        for out in (False, True)
    )
    return (train, train) if holdout > 0 and count == 1 else (train, test)


def in_hash_order(pictures: FileList) -> list[int]:
    """Indices into `pictures` in the order of the hashes of their keys: a mixed but fixed order."""
    keys = [pictures.key(name) for name in pictures.names]
    return sorted(range(len(pictures)), key=lambda index: (_hash(keys[index]), keys[index]))


def _hash(name: str) -> float:
    digest = hashlib.sha256(os.fsencode(name)).digest()
    return int.from_bytes(digest[:8], "big") / 2**64  # the first 64 bits decide; more are lost in a float anyway


def _folders(config: TrainConfig, domains: Sequence[str]) -> tuple[dict[str, _Folder], dict[str, _Folder]]:
    """The training folders of `domains` and, where given, those of held-out pictures."""
    own = [f"--{domain}" for domain in domains]
    for name in config.folders:
        if name != "data" and name.removeprefix("test_") not in domains:
            raise UsageError(
                f"--{name.replace('_', '-')}: method {config.method} reads only {' and '.join(own)}; leave it out"
            )
    if config.data is not None:
        if any(config.folder(domain) is not None for domain in domains):
            raise UsageError(f"--data and {', '.join(own)} name the pictures in two ways; give one of them")
        return _folders_in(Path(config.data), domains)
    missing = " and ".join(f"--{domain}" for domain in domains if config.folder(domain) is None)
    if missing:
        give = " and ".join(f"{option} DIR" for option in own)
        raise UsageError(f"no folder of pictures given for {missing}; give {give}, or --data DIR")
    train = {domain: _Folder(Path(config.folder(domain) or ""), f"--{domain}") for domain in domains}
    tests = {domain: config.test_folder(domain) for domain in domains}
    return train, {domain: _Folder(Path(path), f"--test-{domain}") for domain, path in tests.items() if path}


def _folders_in(root: Path, domains: Sequence[str]) -> tuple[dict[str, _Folder], dict[str, _Folder]]:
    """The same as `_folders`, for the folder of --data."""
    require_folder(root, "--data")
    train, test = ({d: _Folder(root / f"{role}{d.upper()}", "--data") for d in domains} for role in ("train", "test"))
    for path, _ in train.values():
        if not path.exists():
            needed = " and ".join(part.path.name for part in train.values())
            instead = " and ".join(f"--{domain}" for domain in domains)
            raise UsageError(f"--data: {root} has no folder {path.name}; it needs {needed}, or give {instead} instead")
    return train, {domain: folder for domain, folder in test.items() if folder.path.exists()}


def _listed(folders: Mapping[str, _Folder], kind: type[Pairing], warnings: list[str]) -> dict[str, FileList]:
    """The pictures of the folders that can be paired; the others are named in `warnings`."""
    if not folders:
        return {}
    names = {domain: _names(folder) for domain, folder in folders.items()}
    try:
        matched = kind.match(names)
    except ValueError as error:
        options = dict.fromkeys(folder.option for folder in folders.values())
        raise UsageError(f"{' and '.join(options)}: {error}") from None
    for domain, folder in folders.items():
        alone = sorted(set(names[domain]) - set(matched[domain]))
        if alone:
            listed = ", ".join(map(escaped, alone[:_LISTED])) + (", …" if len(alone) > _LISTED else "")
            warnings.append(
                f"{folder.option}: {len(alone)} of {len(names[domain])} pictures in {folder.path} have no partner of "
                f"the same name and are left out: {listed}"
            )
    return {domain: FileList(folder.path, matched[domain], kind.key) for domain, folder in folders.items()}


def _names(folder: _Folder) -> list[str]:
    path, option = folder
    try:
        if not any(path.iterdir()):
            raise UsageError(f"{option}: {path} is empty; name a folder of pictures")
    except PermissionError:
        raise UsageError(f"{option}: {path} may not be read; change its permissions") from None
    names = list_images(path)
    if not names:
        raise UsageError(f"{option}: {path} holds no picture; the formats read are {' '.join(EXTENSIONS)}")
    return names


def require_folder(path: Path, option: str) -> None:
    """Raise a `UsageError` that begins with `option` unless `path` is a folder."""
    if not path.exists():
        raise UsageError(f"{option}: {path} does not exist; name a folder of pictures")
    if not path.is_dir():
        raise UsageError(f"{option}: {path} is a file; name the folder it is in")


def _refuse_overlap(folders: Sequence[_Folder]) -> None:
    """Refuse equal or nested folders: domains would share pictures, or test pictures be trained on."""
    for folder, other in permutations(folders, 2):
        path, place = folder.path.resolve(), other.path.resolve()
        if path.is_relative_to(place):
            relation = "the same folder as" if path == place else "inside"
            raise UsageError(
                f"{folder.option}: {folder.path} is {relation} {other.path} ({other.option}); "
                "each set needs a folder of its own"
            )


def _fingerprint(found: Mapping[str, FileList]) -> str:
    digest = hashlib.sha256()
    for role, pictures in sorted(found.items()):
        for name in pictures.names:
            try:
                size = os.stat(pictures.root / name).st_size
            except OSError:  # a broken link, reported when training reads it
                size = -1
            digest.update(b"%s\0%s\0%d\n" % (role.encode(), os.fsencode(name), size))
    return digest.hexdigest()
