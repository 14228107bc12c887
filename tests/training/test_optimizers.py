"""Adam, and its state in the layout of the weights."""

from __future__ import annotations

import torch

from cyclegan.training.optimizers import build_optimizer, match_layout


def test_a_state_saved_in_another_layout_goes_on_as_the_same_optimizer():
    torch.manual_seed(0)
    start, gradients = torch.randn(4, 3, 3, 3), torch.randn(2, 4, 3, 3, 3)

    def run(before: torch.memory_format, after: torch.memory_format) -> torch.Tensor:
        weight = start.clone(memory_format=before).requires_grad_()
        optimizer = build_optimizer([weight], lr=0.1, betas=(0.5, 0.999))
        weight.grad = gradients[0].clone(memory_format=before)
        optimizer.step()
        again = weight.detach().clone(memory_format=after).requires_grad_()
        resumed = build_optimizer([again], lr=0.1, betas=(0.5, 0.999))
        resumed.load_state_dict(optimizer.state_dict())
        match_layout(resumed)
        again.grad = gradients[1].clone(memory_format=after)
        resumed.step()
        return again.detach()

    same = run(torch.contiguous_format, torch.contiguous_format)
    for before, after in (
        (torch.contiguous_format, torch.channels_last),
        (torch.channels_last, torch.contiguous_format),
    ):
        torch.testing.assert_close(run(before, after), same, rtol=1e-6, atol=1e-6)
