"""Adam, and its state in the layout of the weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cyclegan.training.update.optimizers import AdamMoments, build_optimizer


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
        AdamMoments(resumed).load_state_dict(AdamMoments(optimizer).state_dict())
        again.grad = gradients[1].clone(memory_format=after)
        resumed.step()
        return again.detach()

    same = run(torch.contiguous_format, torch.contiguous_format)
    for before, after in (
        (torch.contiguous_format, torch.channels_last),
        (torch.channels_last, torch.contiguous_format),
    ):
        torch.testing.assert_close(run(before, after), same, rtol=1e-6, atol=1e-6)


def played() -> tuple[torch.optim.Optimizer, dict[str, Any]]:
    weights = [torch.zeros(2, 3).requires_grad_(), torch.zeros(4).requires_grad_()]
    optimizer = build_optimizer(weights, lr=0.1, betas=(0.5, 0.999))
    weights[1].grad = torch.ones(4)
    optimizer.step()
    return optimizer, AdamMoments(optimizer).state_dict()


def test_of_a_state_nothing_but_moments_is_taken():
    optimizer, state = played()
    before = dict(optimizer.param_groups[0])
    state["param_groups"][0] |= {"lr": "x", "betas": [2, 2], "params": [], "differentiable": True}
    state["state"][1]["exp_avg"] = torch.full((4,), 3.0)
    AdamMoments(optimizer).load_state_dict(state)
    assert optimizer.param_groups[0] == before
    (moments,) = optimizer.state.values()  # the first weight had no gradient, and so no moments
    assert moments["exp_avg"].tolist() == [3.0] * 4
    assert moments["step"].item() == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("exp_avg", torch.zeros(5)), ("exp_avg_sq", torch.zeros(4, dtype=torch.complex64)), ("step", torch.zeros(1))],
)
def test_what_are_no_moments_of_a_parameter_is_refused(name: str, value: torch.Tensor):
    optimizer, state = played()
    state["state"][1][name] = value
    with pytest.raises(ValueError, match=f"{name} of parameter 1"):
        AdamMoments(optimizer).load_state_dict(state)


def test_moments_of_a_parameter_that_is_not_there_are_refused():
    optimizer, state = played()
    state["state"][2] = state["state"].pop(1)
    with pytest.raises(ValueError, match="2 parameters"):
        AdamMoments(optimizer).load_state_dict(state)
