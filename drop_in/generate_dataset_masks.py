"""Masks for a folder of pictures, with the flags of SimpleTuner's DreamBooth guide.

    python generate_dataset_masks.py --input_dir /images/input --output_dir /images/output \\
        --text_input "person"

All further options are those of `scumble data masks`, which this stands for: --grow 16 pads the
masks, --blur 4 softens them, --sheet masks.png shows them.
"""

import sys

FLAGS = {"--input_dir": "", "--output_dir": "--out", "--text_input": "--text"}


def arguments(given: list[str]) -> list[str]:
    """The same in the words of `scumble data masks`; what is no flag of the guide stays."""
    ours: list[str] = []
    for word in given:
        flag, equals, value = word.partition("=")
        name = FLAGS.get(flag, flag)
        ours += [name + equals + value] if name else [value] if equals else []
    return ours


if __name__ == "__main__":
    if len(sys.argv) == 1:
        print(__doc__)  # noqa: T201
        sys.exit(2)
    from scumble.cli.app import main  # here, for every process that draws masks reads this file

    sys.exit(main(["data", "masks", *arguments(sys.argv[1:])]))
