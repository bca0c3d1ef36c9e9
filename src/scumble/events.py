"""What a run tells the world: plain values, written to `journal.jsonl` as they are."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

State = Literal["ok", "remark", "unknown", "failed"]
Weights = Literal["raw", "ema"]
"""The weights as they train, or their moving average."""


@dataclass(frozen=True, kw_only=True)
class Scanned:
    """The pictures of one data set have been looked at; the funnel's counts, in order."""

    dataset: str
    funnel: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """So much of the model's weights has come from the hub."""

    repositories: tuple[str, ...]
    bytes: int
    total: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """The cache has grown: `done` of `total` missing entries of one kind are written."""

    kind: str
    done: int
    total: int
    seconds: float
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Started:
    """Training is about to take step `after` + 1."""

    name: str
    folder: Path
    after: int
    steps: int
    preview_every: int
    save_every: int
    keep: int
    device: str
    precision: str
    trained_parameters: int
    examples: int
    steps_per_epoch: float
    measure_every: int | None = None
    """Steps between measurements of the held-out loss; 0: only at the end, None: never."""

    score_every: int | None = None
    """Steps between comparisons of held-out pairs with copies, likewise."""

    drift_every: int | None = None
    """Steps between measurements of how far the base model has moved, likewise."""


@dataclass(frozen=True, kw_only=True)
class Resumed:
    """The run goes on from a checkpoint: what was put back, and what changed in the job since."""

    step: int
    restored: tuple[str, ...]
    changed: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class StepDone:
    """One optimizer step has been taken."""

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    seconds: float
    applied: bool = True
    """False when the step's numbers were not finite and the job says to skip such steps."""

    scaled_layers: int | None = None
    """As the step began, how many changes had been scaled down to `adapter.max_norm`."""

    largest_change: float | None = None
    """The largest norm of a layer's change then."""

    prior_loss: float | None = None
    """Mean loss of the step's examples for prior preservation, as it counts in `loss`; None where
    there were none."""

    extra_passes: int = 0
    """Passes through the network without gradients: walks of rollouts and answers of the base
    model."""


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A checkpoint is whole on disk and can be resumed from."""

    step: int
    folder: Path
    seconds: float
    removed: tuple[str, ...] = ()
    remark: str = ""
    """What was seen when it was read back, where that is worth a word."""


@dataclass(frozen=True, kw_only=True)
class Previewed:
    """Pictures of the model as it stands, one per prompt, each with a JSON file beside it."""

    step: int
    pictures: tuple[Path, ...]
    prompts: tuple[str, ...]
    seconds: float
    weights: tuple[Weights, ...] = ()
    """Whose pictures they are, one for each; empty where there is no average."""


@dataclass(frozen=True, kw_only=True)
class Band:
    """A mean over pictures, and where it lies with a certainty of 95 %, had others been drawn."""

    mean: float
    low: float | None
    """None where it is the mean of one picture alone, of which nothing follows for others."""

    high: float | None
    pictures: int


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What became of a loss since an earlier step, as a share of what it was then.

    Both met the same noise, so pictures are compared each with itself, and the interval is far
    narrower than those of the two means.
    """

    step: int
    mean: float
    """The loss then."""

    change: float
    """-0.15: it is 15 % lower now."""

    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The loss on pictures that are not trained on, at fixed noise levels."""

    step: int
    mean: float
    low: float | None
    high: float | None
    by_time: tuple[tuple[float, Band], ...]
    """Of each noise level."""

    sets: dict[str, Band]
    examples: dict[str, float]
    """The loss of each picture, named like `SET/cat.png`, over all noise levels."""

    conditions: str
    """Stands for all that decides what was measured, the network aside: pictures, noise, levels,
    kind of loss. Only measurements that agree in it are compared."""

    first: Compared | None
    """Against the run's first measurement; None for that one."""

    lowest: Compared | None
    """Against the lowest of the earlier ones."""

    seconds: float
    raw: Compared | None = None
    """Of an average: against the weights as they train, at the same step."""

    ema: "Measured | None" = None
    """The same of the moving average, where there is one."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """How near pictures of held-out pairs come to their targets, beside a copy of the input.

    The input is a pair's first reference, cut as the target is. Distances are between latents.
    """

    step: int
    ratio: Band | None
    """Of each pair's distance to that of the copy: below 1 it is nearer. None: there is nothing to
    compare."""

    better: int
    """Pairs that are nearer to their target than a copy is."""

    pairs: dict[str, tuple[float, float]]
    """Of each pair, named like `SET/cat.png`: the distance of what was painted, and of the copy;
    root mean squares."""

    alike: tuple[str, ...]
    """Pairs that are left out: their input is their target."""

    conditions: str
    """Stands for all that decides what was painted, the network aside."""

    seconds: float
    weights: Weights | None = None
    """Which weights have painted; None where there is no average."""

    @property
    def won(self) -> bool:
        """Whether it is nearer than a copy on the average and on most pairs."""
        return self.ratio is not None and self.ratio.mean < 1 and 2 * self.better > len(self.pairs)


@dataclass(frozen=True, kw_only=True)
class Drifted:
    """How far the base model has moved on prompts that it is not to forget.

    The network's answers against those with the adapter off, as a share of the latter: root mean
    squares over the same points on the base model's own way from noise to a picture.
    """

    step: int
    drift: float
    """Over all prompts; 0: it answers as the base model does."""

    prompts: dict[str, float]
    """Of each."""

    conditions: str
    """Stands for all that decides what was asked, the network aside."""

    seconds: float
    ema: float | None = None
    """The same of the moving average, where there is one."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The file that other tools load."""

    step: int
    file: Path
    layout: str
    tensors: int
    bytes: int
    weights: Weights | None = None
    """Which weights it holds; None where there is no average."""


@dataclass(frozen=True, kw_only=True)
class Proving:
    """A fresh process begins to read these files; it loads the model anew, which takes a while."""

    files: tuple[Path, ...]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One thing that was looked at in an adapter file, and a sentence on what was seen.

    `unknown`: nothing could be looked at, which is no fault of the file, but no proof either.
    """

    name: str
    state: State
    text: str


@dataclass(frozen=True, kw_only=True)
class Proven:
    """A delivered file has been read again, by a fresh process or by the run itself."""

    file: Path
    verdicts: tuple[Verdict, ...]
    fresh_process: bool
    seconds: float
    pictures: tuple[Path, ...] = ()
    """The last preview made again from the file, and the base model's."""

    @property
    def failed(self) -> tuple[Verdict, ...]:
        """What the file was found wanting in."""
        return tuple(one for one in self.verdicts if one.state == "failed")


@dataclass(frozen=True, kw_only=True)
class Warned:
    """Something the user should know that does not stop the run."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """A signal ended the run after `step`, whose state is saved."""

    step: int
    signal: str


@dataclass(frozen=True, kw_only=True)
class Interrupted:
    """Somebody ended the run at once, without waiting for its step or its proof."""


@dataclass(frozen=True, kw_only=True)
class Failed:
    """An error ended the run: the user's to put right, or a fault of this program."""

    problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Finished:
    """All steps are taken, and what was delivered is what was trained."""

    step: int
    seconds: float


Event = (
    Scanned
    | Fetched
    | Encoded
    | Started
    | Resumed
    | StepDone
    | Saved
    | Previewed
    | Measured
    | Scored
    | Drifted
    | Exported
    | Proving
    | Proven
    | Warned
    | Stopped
    | Interrupted
    | Failed
    | Finished
)
