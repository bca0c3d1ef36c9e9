"""A report in lines for a terminal, and as a value for JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby

from scumble.data.pairs.report import KINDS, Finding, Report

SHOWN = 20
"""So many findings of a kind are listed; the rest are counted."""

MARKS = {"wrong": "BAD ", "doubt": "look", "note": "note"}


def lines(report: Report, shown: int = SHOWN) -> Iterator[str]:
    """What was looked at, then the findings by kind, what costs most first."""
    yield f"{_counted(report.targets, 'target')}, {_counted(report.pairs, 'pair')}"
    if report.counts:
        yield "references per target: " + ", ".join(
            f"{references} ({_counted(targets, 'target')})"
            for references, targets in report.counts.items()
        )
    for (kind, side), group in groupby(report.findings, lambda one: (one.kind, one.side)):
        found = list(group)
        facts = KINDS[kind]
        yield f"{MARKS[facts.grade]} {len(found):,} x {side}: {facts.title}; {facts.remedy}"
        yield from (f"       {one.id} {one.said}" for one in found[:shown])
        if len(found) > shown:
            yield f"       and {len(found) - shown:,} more; all are listed with --json"
    yield from (f"hint   {hint}" for hint in report.hints)
    yield from (f"way    {told}" for told in report.directions)
    yield from _pixels(report)
    yield _verdict(report)


def plain(report: Report) -> dict[str, object]:
    """All of it, with every finding and the paths of its files."""
    looked = report.looked
    return {
        "targets": report.targets,
        "pairs": report.pairs,
        "references_per_target": {str(one): count for one, count in report.counts.items()},
        "findings": [_plain(one) for one in report.findings],
        "hints": list(report.hints),
        "directions": list(report.directions),
        "pixels": None if looked is None else asdict(looked),
    }


def _plain(one: Finding) -> dict[str, object]:
    return {
        "kind": one.kind,
        "grade": one.facts.grade,
        "side": one.side,
        "id": one.id,
        "said": one.said,
        "files": list(one.files),
    }


def _pixels(report: Report) -> Iterator[str]:
    looked = report.looked
    if looked is None:
        yield "pixels were not looked at"
        return
    rest = "" if looked.pairs == looked.of else f" of {looked.of:,} (--all takes them all)"
    rate = f"{looked.rate:.1f} pairs/s"
    yield f"pixels of {_counted(looked.pairs, 'pair')}{rest} in {looked.seconds:.1f} s, {rate}"


def _verdict(report: Report) -> str:
    wrong, doubts = (len(report.of_grade(grade)) for grade in ("wrong", "doubt"))
    if not wrong and not doubts:
        return f"no problem found in {_counted(report.pairs, 'pair')}"
    parts = [(wrong, "wrong"), (doubts, "to look at")]
    return ", ".join(f"{count:,} {said}" for count, said in parts if count)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
