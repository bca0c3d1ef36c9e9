"""One page that says how a run went, made from its folder alone and complete in itself.

No script, no request, no word of the user's that is not escaped.
"""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from scumble.disk import write_whole
from scumble.events import (
    Drifted,
    Event,
    Exported,
    Failed,
    Finished,
    Interrupted,
    Measured,
    Previewed,
    Proven,
    Saved,
    Scored,
    Stopped,
)
from scumble.observers import charts, drift, held_out, pairs, sentences
from scumble.observers.history import History, drifts, history
from scumble.observers.pictures import Box, Preview, labelled, previews, thumbnail
from scumble.observers.proof import proof
from scumble.observers.stylesheet import CSS

FILE = "report.html"
COLUMNS = 8
TINY_PIXELS = 128
ABOUT_LETTERS = 160
"""A longer value in a picture's sidecar is cut."""

ABOUT_FILES = ("step", "layout", "tensors", "weights")
"""What the table of deliverables tells of each; the last only where there is an average."""

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

STATES = {
    "running": "Running when this page was written.",
    "finished": "All steps are taken.",
    "stopped": "Its state is saved; the same command goes on from there.",
    "failed": "What is saved and cached is whole.",
    "interrupted": "It ended before its time; the same command goes on from the last checkpoint.",
    "empty": "Nothing has been written in this folder yet.",
}


class Report:
    """Keeps `report.html` up to date. Stands after the journal among the observers."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, event: Event) -> None:
        """Write the page anew where there is something new to see."""
        match event:
            case Finished():
                write(self._folder, state="finished")
            case Stopped():
                write(self._folder, state="stopped")
            case Interrupted():
                write(self._folder, state="interrupted")
            case Failed():
                write(self._folder, state="failed")
            case Previewed() | Measured() | Scored() | Drifted() | Saved() | Exported() | Proven():
                write(self._folder)
            case _:
                pass


def write(folder: Path, *, state: str | None = None) -> Path:
    """Write `report.html`, whole or not at all; `state` is told by one who knows better."""
    file = folder / FILE
    write_whole(file, page(folder, state=state).encode())
    return file


def page(folder: Path, *, state: str | None = None) -> str:
    """The page as text."""
    past = history(folder)
    state = state or past.state()
    name = str(past.plan().get("name") or folder.resolve().name)
    sections = (
        _failure(past) if state == "failed" else "",
        _warnings(past),
        _learning(past),
        _held_out(past),
        _pairs(past),
        _drift(past),
        _pictures(folder),
        _deliverable(folder, past),
        _proof(folder, past),
        _data(past),
        _settings(folder),
    )
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(name)} - Scumble</title>\n<style>{CSS}</style></head>\n<body>\n"
        f"{_header(name, state, past)}\n{''.join(sections)}"
        f"<footer>Written by Scumble, {now}.</footer>\n</body></html>\n"
    )


def _section(title: str, body: str) -> str:
    return f"<section><h2>{title}</h2>{body}</section>\n"


def _header(name: str, state: str, past: History) -> str:
    facts = "".join(
        f'<div><dt>{label}</dt><dd class="value">{escape(value)}</dd></div>'
        for label, value in _facts(past)
    )
    return (
        f'<header><p class="over">Training report</p><h1>{escape(name)}</h1>'
        f'<p class="state {state}"><b>{state.capitalize()}.</b> {STATES[state]}</p>'
        f'<dl class="facts">{facts}</dl></header>'
    )


def _facts(past: History) -> list[tuple[str, str]]:
    plan = past.plan()
    if not plan:
        return []
    done, sessions = max(past.steps, default=int(plan["after"])), past.sessions()
    spent = sentences.duration(sum(sessions))
    facts = [
        ("Steps", f"{done:,} of {plan['steps']:,}"),
        ("Duration", spent if len(sessions) == 1 else f"{spent} in {len(sessions)} sessions"),
        ("Pace", sentences.pace(past.seconds_per_step())),
        ("Examples", f"{plan['examples']:,}"),
        ("Trained parameters", f"{plan['trained_parameters']:,}"),
        ("Device", str(plan["device"])),
        ("Precision", str(plan["precision"])),
    ]
    if passes := sum(record.get("extra_passes", 0) for record in past.steps.values()):
        facts.append(("Passes without gradients", f"{passes:,}"))
    if measured := past.measured():
        facts.append(("Held-out loss", held_out.brief(measured[-1])))
    if scores := past.scores():
        facts.append(("Better than a copy", pairs.brief(scores[-1])))
    if moved := drifts(past):
        facts.append(("Drift", drift.brief(moved[-1])))
    if plan["steps_per_epoch"]:
        facts.insert(4, ("Epochs", f"{done / float(plan['steps_per_epoch']):.1f}"))
    return facts


def _failure(past: History) -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in past.problems())
    return _section("What went wrong", f"<ul>{items}</ul>") if items else ""


def _warnings(past: History) -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in past.warnings())
    return _section("Warnings", f"<ul>{items}</ul>") if items else ""


def _learning(past: History) -> str:
    losses = past.values("loss")
    resumed = sorted({int(record["step"]) for record in past.of("Resumed")})
    chart = charts.loss_chart(losses, resumed=resumed)
    if not chart:
        return _section("Loss", "<p>No step has been taken yet.</p>")
    marks = " Dotted lines: the run went on from a checkpoint." if resumed else ""
    return _section(
        "Loss",
        f"<p>Every point is a step, the line their running mean.{marks}</p><figure>{chart}"
        f"</figure><figure>{charts.rate_chart(past.values('learning_rate'))}"
        "<figcaption>Learning rate over the same steps.</figcaption></figure>",
    )


def _held_out(past: History) -> str:
    body = held_out.body(past.measured())
    return _section("Held-out loss", body) if body else ""


def _pairs(past: History) -> str:
    body = pairs.body(past.scores(), int(past.plan().get("steps", 0)))
    return _section("Held-out pairs", body) if body else ""


def _drift(past: History) -> str:
    body = drift.body(drifts(past))
    return _section("Drift", body) if body else ""


def _pictures(folder: Path) -> str:
    rows = previews(folder)
    if not rows:
        return _section("Previews", "<p>No previews were made.</p>")
    steps = sorted({step for row in rows.values() for step in row})
    shown = [steps[place] for place in charts.evenly(len(steps), COLUMNS)]
    left_out = len(steps) - len(shown)
    note = f"<p>{left_out} more steps lie in the run's folder.</p>" if left_out else ""
    strips = "".join(_strip(row, shown) for row in rows.values())
    return _section("Previews", note + strips)


def _strip(row: dict[int, Preview], steps: list[int]) -> str:
    newest = row[max(row)]
    title = labelled(newest.prompt or "(no words)", newest.weights)
    about, parts = newest.about, newest.parts
    shown = [word for word in parts if word not in ("output", "target")]
    made = [_cell(step, row.get(step)) for step in steps]
    wanted = ["target"] if "target" in parts else []
    left, right = ([_part(newest, word) for word in words] for words in (shown, wanted))
    cells = "".join([*left, *made, *right])
    return (
        f'<div class="prompt"><h3>{escape(title)}</h3>'
        f'<div class="strip" style="--shape:{_shape(about)}">{cells}</div>'
        f'<p class="made">{escape(_made(about))}</p></div>'
    )


def _shape(about: dict[str, Any]) -> str:
    match about:
        case {"width": int(width), "height": int(height)} if width > 0 and height > 0:
            return f"{width}/{height}"
        case _:
            return "1"


def _cell(step: int, preview: Preview | None) -> str:
    caption = f"<figcaption>step {step:,}</figcaption>"
    if preview is None:
        return f'<figure><div class="none">none</div>{caption}</figure>'
    return _figure(preview, preview.output, f"step {step}", caption)


def _part(preview: Preview, word: str) -> str:
    """What a picture was made from, or should have become."""
    return _figure(preview, preview.parts[word], word, f"<figcaption>{word}</figcaption>")


def _figure(preview: Preview, box: Box | None, what: str, caption: str) -> str:
    small = thumbnail(preview.file, box)
    if small is None:
        return f'<figure><div class="none">not readable</div>{caption}</figure>'
    packed, width = small
    kind = ' class="tiny"' if width <= TINY_PIXELS else ""
    words = escape(f"{preview.title}, {what}")
    return (
        f'<figure><img{kind} alt="{words}" src="data:image/webp;base64,{packed}">{caption}</figure>'
    )


def _made(about: dict[str, Any]) -> str:
    """The sidecar as given: each name with its value."""
    told = []
    for name, value in about.items():
        if name in ("prompt", "step", "shows") or value in (None, "", []):
            continue
        text = _worded(name, value)
        cut = f"{text[:ABOUT_LETTERS]}..." if len(text) > ABOUT_LETTERS else text
        told.append(f"{name.replace('_', ' ')} {cut}")
    return ", ".join(told)


def _worded(name: str, value: object) -> str:
    match name, value:
        case _, str():
            return value
        case "references", list():
            # a report is shown to others: no folders but the nearest
            return " and ".join("/".join(Path(str(one["file"])).parts[-2:]) for one in value)
        case _:
            return json.dumps(value)


def _deliverable(folder: Path, past: History) -> str:
    """What was exported and what lies there now, which is more than the journal may say."""
    told = {str(record["file"]): record for record in past.of("Exported")}
    files = {file.name: file for file in sorted(folder.glob("*.safetensors"))}
    averaged = any(record.get("weights") for record in told.values())
    rows = []
    for name in dict.fromkeys((*files, *told)):
        record, file = told.get(name, {}), folder / name
        count = file.stat().st_size if file.is_file() else None
        held = "missing" if count is None else sentences.size(count)
        facts = ["-" if record.get(one) is None else str(record[one]) for one in ABOUT_FILES]
        rows.append(_row([name, *facts[:-1], *(facts[-1:] if averaged else []), held]))
    if not rows:
        return ""
    weights = "<th>Weights</th>" if averaged else ""
    head = (
        f"<tr><th>File</th><th>Step</th><th>Layout</th><th>Tensors</th>{weights}<th>Size</th></tr>"
    )
    return _section("Deliverable", f"<table>{head}{''.join(rows)}</table>")


def _proof(folder: Path, past: History) -> str:
    body = proof(folder, past)
    return _section("Proof", body) if body else ""


def _row(cells: Iterable[str]) -> str:
    return f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"


def _data(past: History) -> str:
    tables = "".join(_funnel(name, funnel) for name, funnel in past.funnels().items())
    return _section("Data", tables) if tables else ""


def _funnel(name: str, funnel: dict[str, int]) -> str:
    most = max([1, *funnel.values()])
    rows = "".join(
        f'<tr><td>{escape(stage)}</td><td class="count">{count:,}</td>'
        f'<td class="share"><i style="width:{100 * count / most:.1f}%"></i></td></tr>'
        for stage, count in funnel.items()
    )
    return f"<table><caption>{escape(name)}</caption>{rows}</table>"


def _settings(folder: Path) -> str:
    file = folder / "job.yaml"
    if not file.is_file():
        return ""
    text = file.read_text(encoding="utf-8", errors="replace")
    return _section("Settings", f"<pre>{escape(text)}</pre>")
