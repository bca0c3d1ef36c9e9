"""The part of a report that tells how the delivered files were proven."""

from html import escape
from pathlib import Path
from typing import Any

from scumble.observers import sentences
from scumble.observers.history import History
from scumble.observers.pictures import thumbnail

WORDS = {"ok": "ok", "remark": "note", "unknown": "not known", "failed": "FAILED"}
CAPTIONS = ("made again from the file", "the base model alone")
TINY_PIXELS = 128


def proof(folder: Path, past: History) -> str:
    """A table for each file, and the pictures that were made for it; empty before any proof."""
    return "".join(_file(folder, record) for record in past.proofs().values())


def _file(folder: Path, record: dict[str, Any]) -> str:
    verdicts = record.get("verdicts", [])
    rows = "".join(_row(one) for one in verdicts)
    who = "by a fresh process" if record.get("fresh_process") else "by the run itself"
    spent = sentences.duration(float(record.get("seconds", 0.0)))
    name = escape(str(record["file"]))
    table = f"<table><caption>{name}, read again {who} in {spent}</caption>{rows}</table>"
    pictures = [folder / str(one) for one in record.get("pictures", [])]
    cells = "".join(_picture(file, words) for file, words in zip(pictures, CAPTIONS, strict=False))
    return table + (f'<div class="strip">{cells}</div>' if cells else "")


def _row(verdict: dict[str, Any]) -> str:
    state = str(verdict.get("state"))
    state = state if state in WORDS else "unknown"
    name, text = escape(str(verdict.get("name"))), escape(str(verdict.get("text")))
    return f'<tr><td class="verdict {state}">{WORDS[state]}</td><td>{name}</td><td>{text}</td></tr>'


def _picture(file: Path, words: str) -> str:
    caption = f"<figcaption>{words}</figcaption>"
    small = thumbnail(file) if file.is_file() else None
    if small is None:
        return f'<figure><div class="none">not readable</div>{caption}</figure>'
    packed, width = small
    kind = ' class="tiny"' if width <= TINY_PIXELS else ""
    source = f"data:image/webp;base64,{packed}"
    return f'<figure><img{kind} alt="{words}" src="{source}">{caption}</figure>'
