"""A build that is killed thirty times loses no more than the shard it was at work on.

One process has everything imported and forks builders, each a process of its own that is killed
with SIGKILL while it encodes real pictures through builtin:tiny-flux.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scumble.data import inventory
from scumble.data.shards import sweep

pytestmark = pytest.mark.acceptance

PICTURES = 1500
ENTRIES = 8  # in a shard
BATCH = 4  # pictures that go through the autoencoder together: 512 x 512 would be as many

HOST = """
import os, random, signal, sys, time
from pathlib import Path

import torch
torch.set_num_threads(1)

from scumble import families
from scumble.data.cache import Missing, Store, picture_key
from scumble.data.shards import Limits, sweep
from scumble.data.sizes.frame import Frame
from scumble.data.view import View
from scumble.families import encoding, weights
from scumble.hardware.device import Place
from scumble.spec.model import ModelSpec

root, pictures, entries, batch = Path(sys.argv[1]), *map(int, sys.argv[2:])
encoding.AREA = batch * 32 * 32
wanted = ModelSpec(family="flux", flavour="dev", path="builtin:tiny-flux")
model = weights.opened(families.find("flux", "dev"), wanted, Path())
place = Place(torch.device("cpu"), torch.float32)
view = View(Frame((32, 32), (32, 32), (0, 0), (32, 32)))
store = Store(root / "cache" / "pictures", "cat", limits=Limits(entries=entries))
wanted = [
    Missing(picture_key(bytes(16), f"{n:032x}", view), root / "p" / f"{n}.png", view)
    for n in range(pictures)
]


def missing():
    return [wanted[place] for place in store.missing([one.key for one in wanted])]


def build(told):
    sweep(store.folder)
    for event in encoding.encode_pictures(model, place, store, missing(), "fp32"):
        os.write(told, event.done.to_bytes(4, "little"))


def started():
    heard, told = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(heard)
        build(told)
        os._exit(0)
    os.close(told)
    return child, heard


def events(heard):
    data = b""
    while part := os.read(heard, 4096):
        data += part
    os.close(heard)
    return int.from_bytes(data[len(data) // 4 * 4 - 4 :][:4], "little") if len(data) >= 4 else 0


dice, there, killed, redone = random.Random(5), 0, 0, []
while killed < 30:
    child, heard = started()
    for _ in range(dice.randint(1, 5)):
        first = os.read(heard, 4)  # it has begun to write; how fast it is does not matter
    time.sleep(dice.uniform(0.0, 0.01))
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status), "it ended by itself: there are too few pictures"
    made = max(events(heard), int.from_bytes(first, "little"))
    now = pictures - len(missing())
    assert there <= now
    redone.append(there + made - now)
    there, killed = now, killed + 1
assert 0 < there < pictures
child, heard = started()
while os.read(heard, 4096):
    pass
assert os.waitpid(child, 0)[1] == 0 and not missing()
sys.stdout.write(f"{there} {max(redone)}")
"""


def test_thirty_kills_cost_no_more_than_one_shard_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p").mkdir()
    random = np.random.default_rng(0)
    for number in range(PICTURES):
        pixels = random.integers(0, 255, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "p" / f"{number}.png")
    options = [str(tmp_path), str(PICTURES), str(ENTRIES), str(BATCH)]
    words = subprocess.run(
        [sys.executable, "-c", HOST, *options], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    before_the_last, redone = map(int, words.split())
    with capsys.disabled():
        sys.stdout.write(f"\nafter 30 kills {before_the_last} of {PICTURES} entries were there;")
        sys.stdout.write(f" at most {redone} had to be made again\n")
    assert redone <= ENTRIES
    found = inventory.shards(tmp_path / "cache")
    assert [inventory.fault(one) for one in found] == [None] * len(found)
    assert sum(one.entries for one in found) == PICTURES, "nothing twice"
    sweep(tmp_path / "cache" / "pictures")
    left = {path.suffix for path in (tmp_path / "cache" / "pictures").iterdir()}
    assert left == {".safetensors"}
