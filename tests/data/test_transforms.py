import contextlib
import json
import pickle
import random
from dataclasses import replace
from pathlib import Path

import albumentations as A
import numpy as np
import pytest

from cyclegan.config import TrainConfig
from cyclegan.data.kinds import InputKind
from cyclegan.data.transforms import (
    UserPipeline,
    build_transform,
    fit,
    mirror,
    prepared_size,
    require_equal_size,
    to_planes,
)
from cyclegan.errors import UsageError
from cyclegan.images import UnreadableImage

CONFIG = TrainConfig(load_size=20, crop_size=16)
# Every pixel has a colour of its own
PICTURE = np.stack([*np.meshgrid(np.arange(40) * 6, np.arange(30) * 8), np.zeros((30, 40))], axis=2).astype(np.uint8)


def rng(number: int = 0) -> np.random.Generator:
    return np.random.default_rng(number)


def with_pipeline(tmp_path: Path, text: str) -> TrainConfig:
    path = tmp_path / "augment.yaml"
    path.write_text(text)
    return replace(CONFIG, augment=str(path))


def refusal(config: TrainConfig) -> str:
    with pytest.raises(UsageError) as caught:
        build_transform(config)
    message = str(caught.value)
    assert message.startswith("--augment")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("shape", [(30, 40, 3), (16, 16, 3), (5, 9, 3), (1, 1, 3), (3, 4000, 3), (300, 20, 3)])
def test_a_picture_of_any_size_becomes_a_square_of_the_crop_size(shape: tuple[int, int, int]) -> None:
    picture = rng(1).integers(0, 256, shape, dtype=np.uint8)
    result = build_transform(CONFIG)(picture, rng())
    assert result.shape == (16, 16, 3)
    assert result.dtype == np.uint8


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("shape", [(30, 40, 3), (16, 16, 3), (9, 5, 3), (300, 20, 3)])
def test_cutting_and_mirroring_is_that_of_albumentations_pixel_for_pixel(
    flip: bool, shape: tuple[int, int, int]
) -> None:
    picture = rng(1).integers(0, 256, shape, dtype=np.uint8)
    steps = [A.SmallestMaxSize(20, area_for_downscale="image"), A.RandomCrop(16, 16)]
    reference = A.Compose(steps + [A.HorizontalFlip(p=0.5)] * flip)
    transform = build_transform(replace(CONFIG, flip=flip))
    prepared = transform.prepare(picture)
    for seed in range(50):
        state = rng(seed)
        reference.set_random_state(state, random.Random(int(state.integers(2**63))))
        assert np.array_equal(transform.augment(prepared, rng(seed)), reference(image=picture)["image"])


@pytest.mark.parametrize("shape", [(30, 40, 3), (5, 9, 3), (3, 4000, 3), (300, 20, 3)])
def test_the_size_reckoned_with_is_that_of_a_prepared_picture(shape: tuple[int, int, int]) -> None:
    prepared = build_transform(CONFIG).prepare(np.zeros(shape, np.uint8))
    assert prepared.shape[:2] == tuple(round(side) for side in prepared_size(*shape[:2], CONFIG.load_size))
    assert prepared_size(*shape[:2], None)[0] == min(shape[0], 16 * shape[1])


def test_a_pipeline_starts_from_the_picture_as_decoded_and_never_writes_to_it() -> None:
    class Scribble(A.ImageOnlyTransform):
        def apply(self, img: np.ndarray, **params: object) -> np.ndarray:
            img[:] = 7
            return img[:16, :16].copy()

    transform = UserPipeline(A.Compose([Scribble(p=1.0)]), 16, "scribble.yaml")
    prepared = transform.prepare(PICTURE)
    assert np.array_equal(prepared, PICTURE)
    prepared = prepared.copy()
    prepared.flags.writeable = False  # as it comes from a cache
    assert (transform.augment(prepared, rng()) == 7).all()
    assert np.array_equal(prepared, PICTURE)


def test_the_random_state_decides_everything() -> None:
    transform = build_transform(CONFIG)
    results = [transform(PICTURE, rng(seed)) for seed in (1, 2, 1)]
    assert np.array_equal(results[0], results[2])
    assert not np.array_equal(results[0], results[1])
    assert np.array_equal(build_transform(CONFIG)(PICTURE, rng(2)), results[1])


def test_the_crop_wanders_over_the_whole_picture_and_half_are_mirrored() -> None:
    transform = build_transform(replace(CONFIG, load_size=30))
    corners, mirrored = set(), 0
    for seed in range(300):
        result = transform(PICTURE, rng(seed)).astype(int)
        flipped = result[0, 0, 0] > result[0, -1, 0]
        mirrored += flipped
        corners.add((result[:, -1 if flipped else 0].min(axis=0)[0] // 6, result[0, 0, 1] // 8))
    assert 110 < mirrored < 190
    assert {left for left, _ in corners} == set(range(25))
    assert {top for _, top in corners} == set(range(15))


def test_the_crop_and_the_mirroring_are_independent() -> None:
    # Left to themselves, all transforms of an albumentations pipeline draw from one and the same stream
    transform = build_transform(replace(CONFIG, load_size=30))
    results = [transform(PICTURE, rng(seed)).astype(int) for seed in range(300)]
    flips = np.array([result[0, 0, 0] > result[0, -1, 0] for result in results])
    tops = np.array([result[0, 0, 1] for result in results])
    assert abs(np.corrcoef(flips, tops)[0, 1]) < 0.15


def test_two_kinds_of_flip_are_independent(tmp_path: Path) -> None:
    config = with_pipeline(
        tmp_path, "- Resize: {height: 16, width: 16}\n- HorizontalFlip: {p: 0.5}\n- VerticalFlip: {p: 0.5}\n"
    )
    transform = build_transform(config)
    results = [transform(PICTURE, rng(seed)).astype(int) for seed in range(400)]
    across = [result[0, 0, 0] > result[0, -1, 0] for result in results]
    down = [result[0, 0, 1] > result[-1, 0, 1] for result in results]
    assert abs(np.corrcoef(across, down)[0, 1]) < 0.15


def test_no_flip_never_mirrors() -> None:
    transform = build_transform(replace(CONFIG, flip=False))
    results = [transform(PICTURE, rng(seed)).astype(int) for seed in range(30)]
    assert all(result[0, 0, 0] < result[0, -1, 0] for result in results)


def test_reducing_averages_instead_of_skipping_pixels() -> None:
    noise = rng().integers(0, 2, (160, 160, 3), dtype=np.uint8) * 255
    assert fit(noise, 16, 16).std() < 127.5 / 8  # the mean of 100 pixels; of the nearest four it would be 127.5 / 2


def test_fit_takes_the_middle_at_the_scale_of_training() -> None:
    assert np.array_equal(fit(PICTURE, 30, 16), PICTURE[7:23, 12:28])
    assert fit(PICTURE[:3, :3], 20, 16).shape == (16, 16, 3)


def test_a_transform_pickles_for_workers_that_are_spawned() -> None:
    transform = build_transform(CONFIG)
    copy = pickle.loads(pickle.dumps(transform))
    assert np.array_equal(copy(PICTURE, rng(3)), transform(PICTURE, rng(3)))


def test_a_pipeline_can_be_written_as_a_list(tmp_path: Path) -> None:
    config = with_pipeline(
        tmp_path,
        """
        - RandomResizedCrop: {size: [16, 16], scale: [0.5, 1.0]}
        - HorizontalFlip
        - OneOf:
            - RandomBrightnessContrast: {p: 1.0}
            - HueSaturationValue:
        """,
    )
    transform = build_transform(config)
    names = [type(step).__name__ for step in transform.pipeline.transforms]
    assert names == ["RandomResizedCrop", "HorizontalFlip", "OneOf"]
    assert len(transform.pipeline.transforms[2].transforms) == 2
    assert transform(PICTURE, rng()).shape == (16, 16, 3)


def test_a_pipeline_can_be_what_albumentations_writes(tmp_path: Path) -> None:
    pipeline = A.Compose([A.Resize(18, 18), A.RandomCrop(16, 16), A.OneOf([A.Transpose(), A.VerticalFlip()])])
    transform = build_transform(with_pipeline(tmp_path, json.dumps(A.to_dict(pipeline))))  # JSON is YAML
    assert [type(step).__name__ for step in transform.pipeline.transforms] == ["Resize", "RandomCrop", "OneOf"]
    single = json.dumps(A.to_dict(A.Resize(16, 16)))
    assert build_transform(with_pipeline(tmp_path, single))(PICTURE, rng()).shape == (16, 16, 3)


def test_an_unknown_transform_names_the_nearest(tmp_path: Path) -> None:
    assert "did you mean 'HorizontalFlip'" in refusal(with_pipeline(tmp_path, "- HorizontalFlop"))
    assert "did you mean 'RandomCrop'" in refusal(with_pipeline(tmp_path, "- OneOf: [RandomCrob: {p: 1}]"))
    dumped = "transform: {__class_fullname__: Compose, transforms: [{__class_fullname__: RandomCropp}]}"
    assert "did you mean 'RandomCrop'" in refusal(with_pipeline(tmp_path, dumped))
    assert "not a transform" in refusal(
        with_pipeline(tmp_path, "transform: {__class_fullname__: os.system, command: id}")
    )
    assert len(refusal(with_pipeline(tmp_path, "- Qqqqq"))) < 300


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- HorizontalFlip: {prob: 0.5}", "prob"),
        ("- RandomCrop: {height: 16}", "width: Field required"),
        ("- RandomCrop: {height: -1, width: 16}", "height: Input should be greater"),
        ("- RandomCrop: 16", "not a list of arguments"),
        ("- {HorizontalFlip: {}, VerticalFlip: {}}", "not one transform"),
        ("- 5", "not one transform"),
        ("- OneOf: {transforms: 3}", "augment.yaml"),
        ("", "holds no pipeline"),
        ("just: words", "holds no pipeline"),
        ("transform: 3", "__class_fullname__"),
        ("- Normalize\n- RandomCrop: {height: 16, width: 16}", "float32"),
        ("- RandomCrop: {height: 16, width: 16}\n- ToTensorV2", "but training takes 16×16×3 uint8"),
        ("- RandomCrop: {height: 16, width: 12}", "16×12×3 uint8"),
        ("- HorizontalFlip", "end it with a crop"),
        ("- RandomCrop: {height: 19, width: 300}", "fails on a picture of 57×20 pixels"),
        ("- a: [", "line "),
        ("!!python/object/apply:os.system ['touch hacked']", "line 1"),
    ],
)
def test_a_faulty_pipeline_is_one_sentence(text: str, words: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    message = refusal(with_pipeline(tmp_path, text))
    assert words in message
    assert not (tmp_path / "hacked").exists()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert "no such file" in refusal(replace(CONFIG, augment=str(tmp_path / "gone.yaml")))
    assert "is a directory" in refusal(replace(CONFIG, augment=str(tmp_path)))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\xd8\xff")
    assert "not text" in refusal(replace(CONFIG, augment=str(tmp_path / "binary")))


def test_a_pipeline_that_fails_only_on_some_picture_still_says_so(tmp_path: Path) -> None:
    # Fits both of the pictures it is tried on, but not a flat one
    config = with_pipeline(tmp_path, "- CenterCrop: {height: 16, width: 16}")
    with pytest.raises(UsageError, match=r"--augment: .* fails on a picture of 40×9 pixels: Crop size"):
        build_transform(config)(PICTURE[:9], rng())


KINDS = [(1, np.uint8), (2, np.uint8), (4, np.uint8), (7, np.uint8), (1, np.float32), (3, np.float32), (20, np.float32)]


def of_kind(height: int, width: int, channels: int, dtype: type) -> np.ndarray:
    fractions = rng(3).random((height, width, channels))
    return (fractions * (255 if dtype is np.uint8 else 1)).astype(dtype)


@pytest.mark.parametrize(("channels", "dtype"), KINDS)
@pytest.mark.parametrize("size", [(30, 40), (5, 9), (300, 20)])
def test_pictures_of_every_kind_stay_what_they_are(channels: int, dtype: type, size: tuple[int, int]) -> None:
    picture = of_kind(*size, channels, dtype)
    for result in (build_transform(CONFIG)(picture, rng()), fit(picture, 20, 16), fit(picture, 0, 16)):
        assert (result.shape, result.dtype) == ((16, 16, channels), dtype)
        assert picture.min() <= result.min() <= result.max() <= picture.max()


@pytest.mark.parametrize(("channels", "dtype"), KINDS)
def test_every_channel_is_cut_scaled_and_mirrored_like_a_picture_of_its_own(channels: int, dtype: type) -> None:
    picture, transform = of_kind(30, 40, channels, dtype), build_transform(CONFIG)
    for seed in range(4):
        together = transform(picture, rng(seed))
        for channel in range(channels):
            alone = transform(picture[:, :, channel : channel + 1], rng(seed))
            assert np.array_equal(together[:, :, channel], alone[:, :, 0])


@pytest.mark.parametrize(("channels", "dtype"), KINDS)
def test_mirroring_and_planes_are_those_of_numpy(channels: int, dtype: type) -> None:
    picture = of_kind(6, 5, channels, dtype)
    assert np.array_equal(mirror(picture), picture[:, ::-1])
    planes = np.zeros((channels, 6, 5), dtype)
    to_planes(mirror(picture), planes)
    assert np.array_equal(planes, picture[:, ::-1].transpose(2, 0, 1))


AS_IT_IS = replace(CONFIG, load_size=0)


@pytest.mark.parametrize("flip", [True, False])
def test_a_load_size_of_0_cuts_from_the_picture_as_it_is(flip: bool) -> None:
    steps = [A.RandomCrop(16, 16)] + [A.HorizontalFlip(p=0.5)] * flip
    reference, transform = A.Compose(steps), build_transform(replace(AS_IT_IS, flip=flip))
    assert transform.prepare(PICTURE) is PICTURE
    for seed in range(30):
        state = rng(seed)
        reference.set_random_state(state, random.Random(int(state.integers(2**63))))
        cut = transform(PICTURE, rng(seed))
        assert np.array_equal(cut, reference(image=PICTURE)["image"])
        window = transform.window(30, 40, rng(seed))
        assert window is not None
        part = PICTURE[window.top : window.top + 16, window.left : window.left + 16]
        assert np.array_equal(mirror(part) if window.mirrored else part, cut)


def test_what_is_smaller_than_the_crop_is_enlarged_to_it_and_has_no_window() -> None:
    transform = build_transform(AS_IT_IS)
    assert transform.prepare(PICTURE[:8]).shape == (16, 80, 3)
    assert transform.window(8, 40, rng()) is None
    assert build_transform(CONFIG).window(300, 400, rng()) is None
    assert transform.prepare(np.zeros((2, 5000, 1), np.uint8)).shape == (16, 16 * 16, 1)  # of a strip, the middle
    assert transform.depends_on != build_transform(replace(AS_IT_IS, crop_size=12)).depends_on


def test_a_pipeline_is_given_and_gives_fractions_where_a_run_learns_from_them(tmp_path: Path) -> None:
    config = with_pipeline(
        tmp_path,
        "- RandomCrop: {height: 16, width: 16}\n- RandomBrightnessContrast: {p: 1.0}\n- VerticalFlip: {p: 0.5}",
    )
    views = {"a": InputKind(1, np.dtype(np.float32)), "b": InputKind(5, np.dtype(np.float32))}
    transform = build_transform(config, views.values())
    for channels in (1, 5):
        result = transform(of_kind(30, 40, channels, np.float32), rng(2))
        assert (result.shape, result.dtype) == ((16, 16, channels), np.float32)
        assert 0 <= result.min() < result.max() <= 1


def test_a_pipeline_that_is_only_fit_for_rgb_is_refused_before_anything_starts(tmp_path: Path) -> None:
    config = with_pipeline(tmp_path, "- RandomCrop: {height: 16, width: 16}\n- HueSaturationValue: {p: 1.0}")
    build_transform(config)
    with pytest.raises(UsageError, match=r"fails on a picture of 57×20 pixels with 5 channels of uint8") as caught:
        build_transform(config, [InputKind(), InputKind(5)])
    assert "\n" not in str(caught.value)


DROPOUT = """
- PixelDropout: {dropout_prob: 0.0, per_channel: true, p: 1.0}
- RandomCrop: {height: 16, width: 16}
- OneOf: [HorizontalFlip: {p: 1.0}, VerticalFlip: {p: 1.0}, Transpose: {p: 1.0}]
- RandomGridShuffle
"""


def test_paired_pictures_are_bent_alike_though_one_draws_for_more_channels(tmp_path: Path) -> None:
    # To drop no number takes as many draws as to drop some, one for each number of the picture
    config = with_pipeline(tmp_path, DROPOUT)
    grey = np.ascontiguousarray(PICTURE[:, :, :1])
    paired, unpaired = (build_transform(config, [InputKind(), InputKind(1)], paired=paired) for paired in (True, False))
    assert all(np.array_equal(paired(PICTURE, rng(n))[:, :, :1], paired(grey, rng(n))) for n in range(30))
    assert not all(np.array_equal(unpaired(PICTURE, rng(n))[:, :, :1], unpaired(grey, rng(n))) for n in range(30))
    assert len({paired(grey, rng(n)).tobytes() for n in range(30)}) > 20


@pytest.mark.parametrize(
    ("sizes", "load_size", "fits"),
    [
        (((30, 40), (30, 40)), None, True),
        (((30, 40), (60, 80)), None, False),
        (((30, 40), (31, 40)), None, False),
        (((30, 40), (60, 80)), 20, True),
        (((300, 401), (150, 201)), 286, True),  # half of it, as a program rounds
        (((300, 401), (150, 204)), 286, False),
        (((30, 40), (40, 30)), 20, False),
    ],
)
def test_pictures_of_a_pair_must_lie_over_each_other_when_they_are_cut(
    sizes: tuple[tuple[int, int], ...], load_size: int | None, fits: bool
) -> None:
    paths = dict(zip((Path("a.jpg"), Path("b.png")), sizes, strict=True))
    with contextlib.nullcontext() if fits else pytest.raises(UnreadableImage, match=r"do not match the .*b\.png"):
        require_equal_size(paths, load_size)
