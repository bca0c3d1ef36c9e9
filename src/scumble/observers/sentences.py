"""Events in plain English, one line each."""

from scumble.events import (
    Compared,
    Drifted,
    Encoded,
    Event,
    Exported,
    Failed,
    Fetched,
    Finished,
    Interrupted,
    Measured,
    Previewed,
    Proven,
    Proving,
    Resumed,
    Saved,
    Scanned,
    Scored,
    Started,
    StepDone,
    Stopped,
    Warned,
    Weights,
)

PROMPT_LETTERS = 60
"""A longer prompt is cut in a sentence."""


def sentence(event: Event) -> str:
    """What happened, on one line that is safe to print: control characters are taken out."""
    told = _of_data(event) or _of_training(event) or _of_files(event)
    return "".join(letter if letter.isprintable() else " " for letter in told)


def duration(seconds: float) -> str:
    """A length of time as one would say it: `0.8 s`, `42 s`, `14 min 3 s`, `2 h 5 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for large, name, small, part in ((86400, "d", 3600, "h"), (3600, "h", 60, "min")):
        if whole >= large:
            return f"{whole // large} {name} {whole % large // small} {part}"
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"


def clock(seconds: float) -> str:
    """A length of time as a stopwatch shows it: `1:12`, `2:03:10`."""
    minutes, second = divmod(round(max(0.0, seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def pace(seconds_per_step: float | None) -> str:
    """Steps in a second, or seconds for a step where that is the larger number."""
    if not seconds_per_step:
        return "- it/s"
    return (
        f"{1 / seconds_per_step:.2f} it/s"
        if seconds_per_step < 1
        else f"{seconds_per_step:.2f} s/it"
    )


def size(count: int) -> str:
    """A number of bytes in decimal units, as file managers and hubs show it."""
    amount = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 999.5 or unit == "GB":
            break
        amount /= 1000
    return f"{count} bytes" if unit == "bytes" else f"{amount:.1f} {unit}"


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _of_data(event: Event) -> str:
    match event:
        case Scanned():
            stages = ", ".join(f"{count:,} {stage}" for stage, count in event.funnel.items())
            return f"Scanned {event.dataset}: {stages or 'nothing found'}."
        case Fetched():
            return _fetching(event)
        case Encoded():
            return _caching(event)
        case Warned():
            return f"Warning: {event.text}"
        case _:
            return ""


def _fetching(event: Fetched) -> str:
    names = ", ".join(event.repositories)
    if event.bytes >= event.total:
        return f"Fetched {size(event.total)} of {names} in {duration(event.seconds)}."
    rate = event.bytes / event.seconds if event.seconds > 0 else 0.0
    left = f", about {duration((event.total - event.bytes) / rate)} left" if rate else ""
    return f"Fetching {names}: {size(event.bytes)} of {size(event.total)}{left}."


def _caching(event: Encoded) -> str:
    rate = event.done / event.seconds if event.seconds > 0 else 0.0
    at = f" ({rate:.1f} a second)" if rate else ""
    if event.done >= event.total:
        spent = duration(event.seconds)
        kind = event.kind.removesuffix("s") if event.total == 1 else event.kind
        return f"Cached {event.total:,} {kind} in {spent}{at}, {size(event.bytes)}."
    left = f", about {duration((event.total - event.done) / rate)} left" if rate else ""
    return f"Caching {event.kind}: {event.done:,} of {event.total:,}{at}{left}."


def _of_training(event: Event) -> str:
    match event:
        case Started():
            where = f"after step {event.after:,}, up to" if event.after else "for"
            return (
                f"Training {event.name} {where} {_plural(event.steps, 'step')}"
                f" on {event.device} ({event.precision}): {_plural(event.examples, 'example')},"
                f" {event.trained_parameters:,} trained parameters."
            )
        case Resumed():
            restored = ", ".join(event.restored) or "nothing"
            changed = "; ".join(event.changed) or "nothing"
            return f"Resumed after step {event.step:,}: restored {restored}; changed: {changed}."
        case StepDone(applied=False):
            return (
                f"Step {event.step:,} was not applied: its loss ({event.loss:.4g}) or"
                f" gradient norm ({event.gradient_norm:.4g}) is not finite."
            )
        case StepDone():
            prior = "" if event.prior_loss is None else f" (prior {event.prior_loss:.4f})"
            return (
                f"Step {event.step:,}: loss {event.loss:.4f}{prior},"
                f" rate {event.learning_rate:.1e}, {duration(event.seconds)}."
            )
        case Measured():
            return f"{held_out(event)}, in {duration(event.seconds)}."
        case Scored():
            return f"{scored(event)} at step {event.step:,}, in {duration(event.seconds)}."
        case Drifted():
            return f"{drifted(event)}, in {duration(event.seconds)}."
        case _:
            return ""


def drifted(event: Drifted) -> str:
    """How far the base model has moved, and on which prompt the most."""
    most = max(event.prompts, key=lambda prompt: event.prompts[prompt])
    average = "" if event.ema is None else f" (EMA {percent(event.ema)})"
    said = f"Drift of the base model {percent(event.drift)}{average} at step {event.step:,}"
    if len(event.prompts) == 1:
        return f"{said}, on '{_cut(most)}'"
    counted = _plural(len(event.prompts), "prompt")
    if event.prompts[most] == 0:
        return f"{said}, on {counted}"
    return f"{said}, on {counted}; most on '{_cut(most)}' ({percent(event.prompts[most])})"


def _cut(prompt: str) -> str:
    return (
        prompt if len(prompt) <= PROMPT_LETTERS else f"{prompt[: PROMPT_LETTERS - 3].rstrip()}..."
    )


def percent(share: float) -> str:
    """Three figures, as few digits as they need: `0.0412 %`, `12.3 %`."""
    return f"{100 * share:.3g} %"


def held_out(event: Measured) -> str:
    """What became of the held-out loss, and how the moving average compares where there is one."""
    said = _held_out(event)
    if event.ema is None or event.ema.raw is None:
        return said
    return f"{said}; EMA {event.ema.mean:.4f}, {_against(event.ema.raw)}"


def _against(raw: Compared) -> str:
    """An average's loss against that of the weights as they train."""
    if raw.change == 0:
        return "the same as raw"
    word = "lower" if raw.change < 0 else "higher"
    unsure = raw.low is not None and raw.high is not None and raw.low <= 0 <= raw.high
    chance = ", which may be chance" if unsure else ""
    return f"{100 * abs(raw.change):.1f} % {word} than raw{chance}"


def _held_out(event: Measured) -> str:
    """The interval is that of the change, as far as there is one: it is much narrower than that of
    the loss itself."""
    pictures = _plural(len(event.examples), "held-out picture")
    if event.first is None:
        sure = "" if event.low is None else f" (95 %: {event.low:.4f} to {event.high:.4f})"
        return f"Held-out loss {event.mean:.4f}{sure} at step {event.step:,}, on {pictures}"
    said = (
        f"Held-out loss {event.first.mean:.4f} -> {event.mean:.4f} at step {event.step:,},"
        f" {changed(event.first)} since step {event.first.step:,}"
    )
    if event.lowest is None or event.lowest.change <= 0 or event.lowest.step == event.first.step:
        return said
    return f"{said}; lowest {event.lowest.mean:.4f} at step {event.lowest.step:,}"


def scored(event: Scored) -> str:
    """Whether painting held-out pairs beats leaving their input as it is, and by how much."""
    average = " with the average (EMA)" if event.weights == "ema" else ""
    count = len(event.pairs)
    left_out = f"; {_plural(len(event.alike), 'pair')} left out, input and target being alike"
    rest = f"{average}{left_out if event.alike else ''}"
    if event.ratio is None:
        return f"No held-out pair to compare with a copy of its input{rest}"
    low, high = event.ratio.low, event.ratio.high
    sure = "" if low is None or high is None else f", 95 % {low:.2f} to {high:.2f}"
    chance = (
        ", which may be chance" if low is not None and high is not None and low <= 1 <= high else ""
    )
    ratio = f"(ratio {event.ratio.mean:.2f}{sure}{chance})"
    if event.won:
        of = f"{event.better:,} of {_plural(count, 'held-out pair')}"
        return f"Closer to the target than a copy of the input on {of} {ratio}{rest}"
    of = f"{count - event.better:,} of {_plural(count, 'held-out pair')}"
    return f"A copy of the input is closer to the target on {of} {ratio}{rest}"


def changed(since: Compared) -> str:
    """As `-15.8 % (95 %: -17.1 to -14.5 %)`."""
    if since.low is None or since.high is None:
        return _percent(since.change)
    chance = ", which may be chance" if since.low <= 0 <= since.high else ""
    span = f"{_percent(since.low)[:-2]} to {_percent(since.high)}"
    return f"{_percent(since.change)} (95 %: {span}{chance})"


def _percent(share: float) -> str:
    return f"{100 * share:+.1f} %"


def _of_files(event: Event) -> str:
    match event:
        case Saved():
            gone = f"; removed {', '.join(event.removed)}" if event.removed else ""
            more = f"; {event.remark}" if event.remark else ""
            spent = duration(event.seconds)
            return f"Saved step {event.step:,} in {spent}: {event.folder.name}{gone}{more}."
        case Previewed():
            pictures = _plural(len(event.pictures), "preview")
            if event.weights:
                shown = "raw and EMA" if len(set(event.weights)) > 1 else _whose(event.weights[0])
                pictures += f" ({shown})"
            where = f": {event.pictures[0].parent.name}" if event.pictures else ""
            return f"Made {pictures} at step {event.step:,} in {duration(event.seconds)}{where}."
        case Exported():
            whose = "" if event.weights is None else f"{_whose(event.weights)} weights, "
            return (
                f"Exported {event.file} ({whose}{event.layout} layout,"
                f" {_plural(event.tensors, 'tensor')}, {size(event.bytes)})."
            )
        case Proving():
            return f"Proving {_plural(len(event.files), 'file')} in a fresh process."
        case Proven():
            return _of_proof(event)
        case _:
            return _of_the_end(event)


def _whose(weights: Weights) -> str:
    return "EMA" if weights == "ema" else weights


def _of_the_end(event: Event) -> str:
    match event:
        case Stopped():
            return f"Stopped by {event.signal} after step {event.step:,}; its state is saved."
        case Interrupted():
            whole = "What is saved and cached is whole"
            return f"Stopped at once. {whole}; the same command goes on from there."
        case Failed():
            return "Failed; what is saved and cached is whole."
        case Finished():
            return f"Finished step {event.step:,} in {duration(event.seconds)}."
        case _:
            return ""


def _of_proof(event: Proven) -> str:
    """How a file fared, and what nobody could look at."""
    if event.failed:
        what = "; ".join(f"{one.name}: {one.text}" for one in event.failed)
        return f"NOT proven: {event.file.name}: {what}."
    passed = [one for one in event.verdicts if one.state in ("ok", "remark")]
    unknown = [one.name for one in event.verdicts if one.state == "unknown"]
    who = " by a fresh process" if event.fresh_process else ""
    more = f", not known: {', '.join(unknown)}" if unknown else ""
    asked = {"velocity", "effect", "change"} & {one.name for one in passed}
    what = "Proven" if asked else "Nothing wrong found"
    counted = f"{_plural(len(passed), 'check')}{more}, in {duration(event.seconds)}"
    return f"{what}: {event.file.name}{who}, {counted}."
