"""Which of a run's processes this one is, as `accelerate launch` and `torchrun` tell it.

Processes are told apart by variables of the environment alone: nothing heavy is needed to know who
speaks and who writes.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from scumble.errors import JobError

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What a launcher sets. A process that is started beside a run does without."""

STRANGE = {"ACCELERATE_USE_DEEPSPEED": "DeepSpeed", "ACCELERATE_USE_FSDP": "FSDP"}
"""Ways of sharing a network out that a launcher may ask for, and that do not exist here."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """One process among those of a run; as it is, the only one."""

    rank: int = 0
    """Among all; the first leads the run and writes its files."""

    world: int = 1
    """How many there are."""

    local_rank: int = 0
    """Among those of this machine."""

    local_world: int = 1

    def told(self) -> str:
        """How it is called, such as `process 2 of 4`."""
        return f"process {self.rank + 1} of {self.world}"


ALONE = Launch()


def launched(variables: Mapping[str, str] = os.environ) -> Launch:
    """This process. JobError where a launcher's variables do not fit together."""
    world = _number(variables, "WORLD_SIZE", 1)
    if world <= 1:
        return ALONE
    rank, local_rank = (_number(variables, name, -1) for name in ("RANK", "LOCAL_RANK"))
    local_world = _number(variables, "LOCAL_WORLD_SIZE", world)
    if not (0 <= rank < world and 0 <= local_rank < local_world and "MASTER_ADDR" in variables):
        problem = f"WORLD_SIZE says {world} processes, and RANK or its like do not say which"
        remedy = "start them with `accelerate launch` or torchrun, or unset WORLD_SIZE"
        raise JobError("environment", problem, remedy)
    return Launch(rank=rank, world=world, local_rank=local_rank, local_world=local_world)


def speaks(variables: Mapping[str, str] = os.environ) -> bool:
    """Whether this process tells the user what all processes of its machine find out alike."""
    try:
        return launched(variables).local_rank == 0
    except JobError:
        return True


def plain(variables: Mapping[str, str] = os.environ) -> None:
    """JobError where the launcher was told to share the network out among its processes."""
    for name, what in STRANGE.items():
        if variables.get(name, "").lower() in {"true", "1"}:
            problem = f"{what} is not there: every process holds the whole network"
            remedy = "start with `accelerate launch --multi_gpu --num_processes N`"
            raise JobError("accelerate launch", problem, remedy)


def shared(units: int, world: int) -> None:
    """JobError unless the batches of a step can be dealt out to so many processes evenly."""
    if units % world == 0:
        return
    below, above = units // world * world, (units // world + 1) * world
    near = f"{below} or {above}" if below else f"{above}"
    problem = f"{units} batches a step cannot be shared evenly by {world} processes"
    remedy = f"make it {near}, or start another number of processes"
    raise JobError("training.units_per_step", problem, remedy)


def _number(variables: Mapping[str, str], name: str, default: int) -> int:
    try:
        return int(variables.get(name, default))
    except ValueError:
        problem = f"{name} is '{variables[name]}', which is no number"
        raise JobError("environment", problem, "unset it, or start with a launcher") from None
