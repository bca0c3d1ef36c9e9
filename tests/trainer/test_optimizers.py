import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from scumble.errors import JobError
from scumble.spec.training import OptimizerSpec
from scumble.trainer import optimizers


def parabola(name: str) -> tuple[dict[str, nn.Parameter], torch.optim.Optimizer]:
    parameters = {
        "a": nn.Parameter(torch.tensor([3.0, -2.0])),
        "b": nn.Parameter(torch.tensor([[1.5]])),
    }
    return parameters, optimizers.made(OptimizerSpec(name=name), parameters.values(), 0.1)


def walk(parameters: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer, steps: int) -> None:
    for _ in range(steps):
        torch.stack([p.square().sum() for p in parameters.values()]).sum().backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_it_lowers_a_parabola(name: str) -> None:
    parameters, optimizer = parabola(name)
    walk(parameters, optimizer, 60)
    assert all(p.abs().max() < 0.5 for p in parameters.values())


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_saved_and_put_back_it_takes_the_same_steps(name: str) -> None:
    unbroken, optimizer = parabola(name)
    walk(unbroken, optimizer, 6)
    first, optimizer = parabola(name)
    walk(first, optimizer, 3)
    tensors, others = optimizers.state_of(optimizer, first)
    second, fresh = parabola(name)
    with torch.no_grad():
        for key, parameter in second.items():
            parameter.copy_(first[key])
    optimizers.restore(fresh, second, load(save(tensors)), others)
    walk(second, fresh, 3)
    assert all(torch.equal(second[key], unbroken[key]) for key in unbroken)


def test_a_misspelt_name_or_option_is_named_with_its_remedy() -> None:
    with pytest.raises(JobError, match="did you mean 'adamw'"):
        optimizers.checked(OptimizerSpec(name="adamv"))
    with pytest.raises(JobError, match="did you mean 'weight_decay'"):
        optimizers.checked(OptimizerSpec(options={"weight_decy": 0.1}))
    with pytest.raises(JobError, match="no such option"):
        optimizers.checked(OptimizerSpec(options={"lr": 0.1}))


def test_an_option_that_it_refuses_is_told_in_its_words() -> None:
    with pytest.raises(JobError, match="beta"):
        optimizers.made(
            OptimizerSpec(options={"betas": [2.0, 0.9]}), parabola("adamw")[0].values(), 0.1
        )
