"""`scumble doctor`: what this machine has, and the exact command for what it lacks."""

import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

EXTRAS = {
    "optimizers": "8-bit, schedule-free, Prodigy and other optimizers",
    "lycoris": "LoKr, LoHa, DoRA and other forms of adapters",
    "quantised": "frozen parts in 8, 4 or 2 bits",
    "tensorboard": "curves for TensorBoard",
    "wandb": "curves for Weights & Biases",
    "peft": "lets diffusers load adapters, for a second opinion on them",
    "s3": "reads pictures from buckets",
    "hub": "reads Hugging Face datasets",
    "tables": "reads Parquet tables",
    "opencv": "edges as references, and masks without a model",
}
"""The extras of the package and what each adds."""

LITTLE_DISK = 20e9  # bytes; a 12-billion model with its encoders and a cache takes more


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    name: str
    words: str
    state: Literal["good", "note", "bad"] = "good"
    remedy: str = ""


def findings() -> Iterator[Finding]:
    """Everything there is to say; what cannot be looked at is a finding, too."""
    probes = (python, packages, options, hub, torch_itself, processor, cards, memory, disk)
    for probe in probes:
        yield from _probed(probe)


def _probed(probe: Callable[[], list[Finding]]) -> list[Finding]:
    """A broken install can raise anything, and this is where one comes to learn of it."""
    try:
        return probe()
    except Exception as error:
        name = probe.__name__.replace("_", " ")
        words = f"{type(error).__name__}: {error}".splitlines()[0]
        return [Finding(name=name, words=words, state="bad", remedy=_reinstall("scumble"))]


def python() -> list[Finding]:
    """The interpreter."""
    words = f"{platform.python_version()} on {platform.platform(terse=True)}"
    return [Finding(name="python", words=words)]


def packages() -> list[Finding]:
    """The packages that nothing works without."""
    from packaging.requirements import Requirement

    found: list[Finding] = []
    good: list[str] = []
    for text in metadata.requires("scumble") or []:
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        version = _version(requirement.name)
        if version and requirement.specifier.contains(version, prereleases=True):
            good.append(f"{requirement.name} {version}")
            continue
        words = (
            f"{version} is installed, {requirement.specifier} is needed" if version else "missing"
        )
        wanted = f'pip install "{requirement.name}{requirement.specifier}"'
        found.append(Finding(name=requirement.name, words=words, state="bad", remedy=wanted))
    return [Finding(name="packages", words=", ".join(sorted(good))), *found]


def options() -> list[Finding]:
    """The extras, each with its packages and the command for those that are missing."""
    return [_extra(name, use) for name, use in EXTRAS.items()]


def _extra(extra: str, use: str) -> Finding:
    from packaging.requirements import Requirement

    needs = map(Requirement, metadata.requires("scumble") or [])
    added = [one for one in needs if one.marker and one.marker.evaluate({"extra": extra})]
    versions = {one.name: _version(one.name) for one in added}
    good = {
        one.name
        for one in added
        if (version := versions[one.name]) and one.specifier.contains(version, prereleases=True)
    }
    lacking = [name for name in versions if name not in good]
    there = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    if not lacking:
        return Finding(name=extra, words=f"{there} ({use})")
    install = f'pip install "scumble[{extra}]"'
    words = f"{', '.join(lacking)} not installed or too old ({use})"
    return Finding(name=extra, words=words, state="note", remedy=install)


def hub() -> list[Finding]:
    """Whether models may be fetched, and where they are kept; nobody is asked anything."""
    from huggingface_hub import constants, get_token, is_offline_mode

    where = f"models are kept in {constants.HF_HUB_CACHE}"
    if is_offline_mode():
        words = f"HF_HUB_OFFLINE is set, so nothing is fetched; {where}"
        return [Finding(name="models", words=words, state="note", remedy="unset HF_HUB_OFFLINE")]
    mirror = "" if "huggingface.co" in constants.ENDPOINT else f" from {constants.ENDPOINT}"
    known = "with your token" if get_token() else "without a token (HF_TOKEN, or `hf auth login`)"
    return [Finding(name="models", words=f"fetched{mirror} when needed, {known}; {where}")]


def torch_itself() -> list[Finding]:
    """Does torch load, and can it multiply."""
    import torch

    product = torch.ones(8, 8) @ torch.ones(8, 8)
    right = bool((product == 8).all())
    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "for the CPU alone"
    words = f"{torch.__version__}, built {built}, {torch.get_num_threads()} threads"
    state = "good" if right else "bad"
    return [Finding(name="torch", words=words, state=state)]


def processor() -> list[Finding]:
    """Cores, and whether they have units for bf16; if not, `precision: auto` is fp32."""
    import torch

    from scumble.hardware.device import has_bf16_units

    units = has_bf16_units(torch.device("cpu"))
    precision = "with units for bf16" if units else "no units for bf16, so it computes in fp32"
    return [Finding(name="processor", words=f"{os.cpu_count()} cores, {precision}")]


def cards() -> list[Finding]:
    """Every CUDA card: is this torch built for it, and does a product come out right."""
    import torch

    if torch.backends.mps.is_available():
        return [Finding(name="card", words="Apple graphics (mps)")]
    if not torch.cuda.is_available():
        return [_no_card(built=torch.version.cuda)]
    return [_card(number) for number in range(torch.cuda.device_count())]


def _no_card(built: str | None) -> Finding:
    if Path("/proc/driver/nvidia/version").is_file() and not built:
        words = "an NVIDIA driver is here, but this torch is built for the CPU alone"
        return Finding(name="card", words=words, state="bad", remedy=_reinstall("torch"))
    return Finding(name="card", words="none; training runs on the processor", state="note")


def _card(number: int) -> Finding:
    import torch

    facts = torch.cuda.get_device_properties(number)
    about = f"{facts.name}, {facts.total_memory / 1e9:.0f} GB, sm_{facts.major}{facts.minor}"
    name, built = f"card cuda:{number}", torch.cuda.get_arch_list()
    if not runs_on((facts.major, facts.minor), built):
        words = f"{about}; this torch is built for {', '.join(built)}"
        return Finding(name=name, words=words, state="bad", remedy=_reinstall("torch"))
    ones = torch.ones(64, 64, device=f"cuda:{number}", dtype=torch.bfloat16)
    if not bool((ones @ ones == 64).all()):
        remedy = "look at the driver's log; the card computes wrongly"
        return Finding(name=name, words=about, state="bad", remedy=remedy)
    return Finding(name=name, words=f"{about}, a product came out right")


def runs_on(capability: tuple[int, int], built: list[str]) -> bool:
    """Is a card of this capability served by a torch built for these architectures.

    Machine code (sm_) serves its own major version from its minor version up; code to be
    compiled on the spot (compute_) serves everything from there up.
    """
    for architecture in built:
        kind, _, digits = architecture.partition("_")
        number = int(re.sub(r"\D", "", digits) or 0)
        version = divmod(number, 10)
        if kind == "sm" and version[0] == capability[0] and version <= capability:
            return True
        if kind == "compute" and version <= capability:
            return True
    return False


def memory() -> list[Finding]:
    """The machine's memory."""
    if sys.platform == "win32":
        return []
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return [Finding(name="memory", words=f"{total / 1e9:.0f} GB")]


def disk() -> list[Finding]:
    """Room in the folder the command is started in."""
    free = shutil.disk_usage(Path.cwd()).free
    words = f"{free / 1e9:,.0f} GB free in this folder"
    if free < LITTLE_DISK:
        remedy = "a large model, its cache and checkpoints take more; set output_dir elsewhere"
        return [Finding(name="disk", words=words, state="note", remedy=remedy)]
    return [Finding(name="disk", words=words)]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _reinstall(package: str) -> str:
    return f"pip install --upgrade --force-reinstall {package}"
