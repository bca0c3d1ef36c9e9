"""The shape of a job as plain values, read from its pydantic schema.

Whatever is said about a setting (in errors, in `scumble explain`, in the docs) is said from here,
so it cannot differ from what the job accepts.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from scumble.spec.job import JobSpec

Schema = dict[str, Any]

PATTERNS = {
    r"^[\w][\w.-]*$": "made of letters, digits, `_`, `-` and `.`, not beginning with `-` or `.`",
    r"^\.[\w.]+$": "beginning with a dot, such as `.txt`",
    r"^(auto|cpu|cuda(:\d+)?|mps)$": "such as `auto`, `cpu`, `cuda`, `cuda:1` or `mps`",
}
"""What a pattern asks for, in words."""

WORDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "null": "null",
    "object": "a mapping",
}
MANY = {"a whole number": "whole numbers", "a number": "numbers", "a section": "sections"}


@dataclass(frozen=True, kw_only=True)
class Place:
    """A place of the job: a value, a list, a section, or a section in one of several kinds."""

    type: str
    """In words, with its article: "a whole number"."""

    limits: str = ""
    """In words that may follow the type: "above 0"."""

    wanted: str = ""
    """Type and limits of all alternatives, to be read after "must be"."""

    help: str = ""
    default: Any = None
    required: bool = False
    accepts: frozenset[str] = frozenset()
    """The JSON types it takes."""

    values: tuple[str, ...] = ()
    """The words it takes, where only some are allowed."""

    fields: Mapping[str, "Place"] = field(default_factory=dict[str, "Place"])
    """What a section holds."""

    items: "Place | None" = None
    """What each entry of a list is."""

    tag: str = ""
    """The field that says which of `variants` a section is."""

    variants: Mapping[str, "Place"] = field(default_factory=dict[str, "Place"])

    @property
    def every_field(self) -> Mapping[str, "Place"]:
        """The fields of the section, in whichever kind."""
        found = dict(self.fields)
        for variant in self.variants.values():
            found = {**variant.fields, **found}
        return found

    def fields_of(self, tag: Any) -> Mapping[str, "Place"]:
        """The fields of the section in one kind: two kinds may mean different things by a name."""
        own = self.variants.get(tag)
        return self.every_field if own is None else own.fields


@cache
def job_shape() -> Place:
    """The whole job."""
    schema = JobSpec.model_json_schema()
    return _place(schema, schema["$defs"])


@cache
def walk() -> tuple[tuple[str, Place, str], ...]:
    """Every place with its dotted path and, where it depends on one, the kind it needs."""
    return tuple(_walk(job_shape(), "", ""))


def _walk(place: Place, path: str, when: str) -> Iterator[tuple[str, Place, str]]:
    if path:
        yield path, place, when
    if place.items is not None and place.items.every_field:
        path, place = f"{path}.ID", place.items
    prefix = f"{path}." if path else ""
    if place.tag:
        yield prefix + place.tag, _tag(place), when
    for name, inner in place.fields.items():
        yield from _walk(inner, prefix + name, when)
    for variant, tags in _by_variant(place).items():
        needs = f"{place.tag}: {' or '.join(tags)}"
        for name, inner in place.variants[variant].fields.items():
            if name != place.tag:
                yield from _walk(inner, prefix + name, needs)


def _by_variant(place: Place) -> dict[str, list[str]]:
    """The tags of each variant, under the first of them; one variant may have several."""
    found: dict[str, list[str]] = {}
    for tag, variant in place.variants.items():
        first = next(other for other in place.variants if place.variants[other] == variant)
        found.setdefault(first, []).append(tag)
    return found


def _tag(place: Place) -> Place:
    """The tag as a setting of its own: which kinds there are."""
    helps = {variant.fields[place.tag].help for variant in place.variants.values()}
    default = place.default[place.tag] if place.default else None
    kinds = [
        f"{_choice(tags)}: {place.variants[first].help}"
        for first, tags in _by_variant(place).items()
    ]
    values = tuple(place.variants)
    return Place(
        type=_choice(values),
        wanted=_choice(values),
        help=" ".join(kinds if len(helps) > 1 else helps),
        default=default,
        required=default is None,
        accepts=frozenset({"string"}),
        values=values,
    )


def _place(schema: Schema, definitions: Schema) -> Place:
    schema = _followed(schema, definitions)
    parts = [_followed(part, definitions) for part in schema.get("anyOf", [schema])]
    places = [_alternative(part, definitions) for part in parts]
    whole = Place(
        type=_either([place.type for place in places]),
        limits=", ".join(place.limits for place in places if place.limits),
        wanted=_either([f"{place.type} {place.limits}".strip() for place in places]),
        help=" ".join(schema.get("description", "").split()),
        default=schema.get("default", {} if "additionalProperties" in schema else None),
        accepts=frozenset(kind for place in places for kind in place.accepts),
        values=tuple(value for place in places for value in place.values),
    )
    for place in places:
        if place.fields or place.items or place.variants:
            whole = replace(
                whole,
                fields=place.fields,
                items=place.items,
                tag=place.tag,
                variants=place.variants,
            )
    return whole


def _followed(schema: Schema, definitions: Schema) -> Schema:
    if "$ref" not in schema:
        return schema
    return {**definitions[schema["$ref"].rsplit("/", 1)[-1]], **schema}


def _alternative(schema: Schema, definitions: Schema) -> Place:
    if "discriminator" in schema:
        tag: str = schema["discriminator"]["propertyName"]
        kinds = [_place(kind, definitions) for kind in schema["oneOf"]]
        variants = {value: kind for kind in kinds for value in kind.fields[tag].values}
        return Place(
            type="a section",
            accepts=frozenset({"object"}),
            tag=tag,
            variants=variants,
        )
    if "properties" in schema:
        required: list[str] = schema.get("required", [])
        fields = {
            name: replace(_place(inner, definitions), required=name in required)
            for name, inner in schema["properties"].items()
        }
        return Place(type="a section", accepts=frozenset({"object"}), fields=fields)
    if schema.get("type") == "array":
        items = _place(schema["items"], definitions)
        return Place(
            type=f"a list of {MANY.get(items.type, items.type)}",
            limits=_counts(schema),
            accepts=frozenset({"array"}),
            items=items,
        )
    return _value(schema)


def _counts(schema: Schema) -> str:
    least, most = schema.get("minItems", 0), schema.get("maxItems")
    if least and least == most:
        return f"with {least} entries"
    return "with at least one entry" if least else ""


def _value(schema: Schema) -> Place:
    values = tuple(schema.get("enum", [schema["const"]] if "const" in schema else []))
    kind: str = schema["type"]
    return Place(
        type=_choice(values) if values else WORDS[kind],
        limits=_limits(schema),
        accepts=frozenset({kind}),
        values=values,
    )


def _limits(schema: Schema) -> str:
    words: list[str] = []
    if "exclusiveMinimum" in schema:
        words.append(f"above {schema['exclusiveMinimum']}")
    if "minimum" in schema:
        words.append(f"from {schema['minimum']}")
    if "maximum" in schema:
        words.append(f"to {schema['maximum']}")
    if "exclusiveMaximum" in schema:
        words.append(f"to below {schema['exclusiveMaximum']}")
    if words == [f"from {schema.get('minimum')}"]:
        words.append("up")
    if "pattern" in schema:
        words.append(PATTERNS.get(schema["pattern"], f"that matches {schema['pattern']}"))
    if "maxLength" in schema:
        words.append(f"({schema['maxLength']} characters at most)")
    return " ".join(words)


def _choice(values: tuple[str, ...] | list[str]) -> str:
    return _either([f"`{value}`" for value in values])


def _either(words: list[str]) -> str:
    """The words as an enumeration: "a, b or c"."""
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last
