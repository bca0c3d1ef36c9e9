"""Keys that cannot go together, as SimpleTuner refuses them before it starts."""

from collections.abc import Callable
from dataclasses import dataclass

from scumble.dialects.notes import Draft
from scumble.dialects.simpletuner.settings import Settings

LARGEST = 5  # megapixels of a size that is given for all sets as an area
SMALLEST = 512  # pixels of one that is given as a side
OFTEN = 60  # seconds between two savings of metadata, at least


@dataclass(frozen=True)
class Rule:
    """What is refused, and what is said of it."""

    where: str
    broken: Callable[[Settings], bool]
    problem: str
    remedy: str


def _quanto(asked: Settings) -> bool:
    return asked["base_model_precision"].endswith("-quanto")


def _too_large(asked: Settings) -> bool:
    largest = asked["maximum_image_size"]
    areas = asked["resolution_type"] in ("area", "pixel_area")
    return areas and largest is not None and largest > LARGEST


def _too_small(asked: Settings) -> bool:
    largest = asked["maximum_image_size"]
    return asked["resolution_type"] == "pixel" and largest is not None and largest < SMALLEST


def _alone(key: str, other: str) -> Callable[[Settings], bool]:
    return lambda asked: bool(asked[key]) and bool(asked[other])


LEAVE = "leave one of them out"
TOGETHER = "cannot go together"
RULES = (
    Rule(
        "maximum_image_size",
        _too_large,
        f"is in megapixels here, and {LARGEST} is the most",
        "give it to each set in the data file, where it is in pixels with pixel_area",
    ),
    Rule(
        "maximum_image_size",
        _too_small,
        f"is in pixels with resolution_type pixel, and {SMALLEST} is the least",
        "raise it, or leave it out",
    ),
    Rule(
        "metadata_update_interval",
        lambda asked: asked["metadata_update_interval"] < OFTEN,
        f"must be {OFTEN} or more",
        "leave it out: it does nothing here",
    ),
    Rule(
        "fsdp_enable, deepspeed_config", _alone("fsdp_enable", "deepspeed_config"), TOGETHER, LEAVE
    ),
    Rule(
        "fsdp_enable, base_model_precision",
        lambda asked: asked["fsdp_enable"] and asked["fsdp_version"] == 2 and _quanto(asked),
        "FSDP2 cannot spread layers of quanto",
        "leave fsdp_enable out",
    ),
    Rule(
        "ramtorch, enable_group_offload",
        _alone("ramtorch", "enable_group_offload"),
        TOGETHER,
        LEAVE,
    ),
    Rule(
        "ramtorch, musubi_blocks_to_swap",
        _alone("ramtorch", "musubi_blocks_to_swap"),
        TOGETHER,
        LEAVE,
    ),
    Rule(
        "attention_mechanism, base_model_precision",
        lambda asked: (
            asked["attention_mechanism"].startswith("sageattention")
            and asked["base_model_precision"] == "nf4-bnb"
        ),
        "SageAttention and nf4-bnb cannot go together",
        "leave attention_mechanism out: it does nothing here",
    ),
    Rule(
        "validation_adapter_path, validation_adapter_config",
        _alone("validation_adapter_path", "validation_adapter_config"),
        TOGETHER,
        LEAVE,
    ),
    Rule(
        "validation_adapter_strength",
        lambda asked: asked["validation_adapter_strength"] == 0,
        "0 leaves nothing of the adapter",
        "raise it, or leave it out",
    ),
    Rule(
        "validation_external_script",
        lambda asked: (
            asked["validation_method"] == "external-script"
            and not asked["validation_external_script"]
        ),
        "is missing, and validation_method=external-script needs it",
        "leave validation_method out: previews are painted here",
    ),
)


def pairs(asked: Settings, draft: Draft) -> None:
    """Note every rule that is broken."""
    for rule in RULES:
        if rule.broken(asked):
            draft.complain(rule.where, rule.problem, rule.remedy)
