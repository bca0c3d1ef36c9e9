"""What the process imports that the others of a test come from: all that they will need, watched as
in the tests themselves."""

from jaxtyping import install_import_hook

with install_import_hook("scumble", "beartype.beartype"):
    import scumble.adapters.attach
    import scumble.cli.app
    import scumble.run  # noqa: F401

import accelerate.utils  # noqa: F401
import diffusers  # noqa: F401
import pytest  # noqa: F401
