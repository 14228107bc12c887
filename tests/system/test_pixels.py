"""Values of pictures in tensors."""

from __future__ import annotations

import torch

from cyclegan.system.pixels import full_precision, to_bytes, to_unit


def test_bytes_and_unit_are_each_others_inverse() -> None:
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_bytes(to_unit(every)), every)
    assert to_bytes(torch.tensor([-2.0, 2.0])).tolist() == [0, 255]


def test_floats_between_0_and_1_come_to_the_same_unit() -> None:
    assert to_unit(torch.tensor([0.0, 0.5, 1.0]).half()).tolist() == [-1, 0, 1]


def test_full_precision_is_fp32_or_what_is_finer() -> None:
    kinds = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    assert [full_precision(torch.zeros(1, dtype=kind)).dtype for kind in kinds] == [torch.float32] * 3 + [kinds[3]]
