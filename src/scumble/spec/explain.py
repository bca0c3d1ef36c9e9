"""Every setting with its type, default, limits and help: for `scumble explain` and docs/job.md."""

import json
from dataclasses import dataclass

from scumble.errors import JobError
from scumble.spec.schema import Place, job_shape, walk
from scumble.spec.wording import suggestion

INTRODUCTION = """\
# The job

Made from `src/scumble/spec/` by `scripts/make_docs.py`; edit the fields there, not this page.

A job is one file in YAML, TOML or JSON (with comments). A setting is named by its dotted path, in
messages, in `scumble explain training.steps`, and on the command line: `training.steps=20`. In
lists, `ID` stands for the entry's `id` or its number, counted from 0: `data.cat.repeats=2`.
"""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting, or a section of settings, all in words."""

    path: str
    type: str
    default: str
    """As it is written in a job; "required" where there is none, "" for a section."""

    limits: str
    wanted: str
    """Type and limits in one phrase."""

    help: str
    when: str
    """The kind of section that has this setting, as "law: sigmoid"; "" for any."""

    section: bool


def rows() -> list[Setting]:
    """All settings, in the order of a job."""
    return [_setting(path, place, when) for path, place, when in walk()]


def find(name: str) -> list[Setting]:
    """The setting of that path, or all settings under it; JobError when there is none."""
    wanted = _general(name)
    found = [row for row in rows() if _is_in(row.path, wanted)]
    if not found:
        last = name.rsplit(".", 1)[-1]
        raise JobError(name, "there is no such setting", suggestion(last, _nearest_section(wanted)))
    return found


def markdown() -> str:
    """The page docs/job.md."""
    settings = rows()
    parts = [INTRODUCTION, *_table([row for row in settings if _is_leaf_of(row, "")])]
    for section in [row for row in settings if row.section]:
        depth = "##" if "." not in section.path else "###"
        parts += ["", f"{depth} {section.path}", "", section.help]
        inside = [row for row in settings if _is_leaf_of(row, section.path)]
        parts += ["", *_table(inside)] if inside else []
    return "\n".join(parts) + "\n"


def _table(settings: list[Setting]) -> list[str]:
    lines = ["| setting | value | default | |", "| --- | --- | --- | --- |"]
    for row in settings:
        default = row.default if row.default == "required" else f"`{row.default}`"
        needs = f"With `{row.when}`. " if row.when else ""
        told = f"{needs}{row.help}".replace("|", "\\|")
        lines.append(f"| `{row.path}` | {row.wanted} | {default} | {told} |")
    return lines


def _is_leaf_of(row: Setting, section: str) -> bool:
    parent = row.path.rpartition(".")[0].removesuffix(".ID")
    return parent == section and not row.section


def _setting(path: str, place: Place, when: str) -> Setting:
    entries = place.items is not None and bool(place.items.every_field)
    section = bool(place.every_field) or entries
    required = place.required or section
    default = json.dumps(place.default, ensure_ascii=False).strip('"')
    return Setting(
        path=path,
        type=place.type.removeprefix("a "),
        default=("" if section else "required") if required else default,
        limits=place.limits,
        wanted=place.wanted.removeprefix("a "),
        help=place.help,
        when=when,
        section=section,
    )


def _general(name: str) -> str:
    """The path with `ID` for whichever entry of a list it names."""
    place, general = job_shape(), list[str]()
    for part in name.strip().split("."):
        if place.items is not None and part not in place.items.every_field:
            general.append("ID")
            place = place.items
            continue
        if place.items is not None:
            general.append("ID")
            place = place.items
        general.append(part)
        place = place.every_field.get(part, place)
    return ".".join(general)


def _is_in(path: str, wanted: str) -> bool:
    return path == wanted or path.startswith(f"{wanted}.")


def _nearest_section(path: str) -> Place:
    place = job_shape()
    for part in path.split("."):
        place = place.items if part == "ID" and place.items else place.every_field.get(part, place)
    return place
