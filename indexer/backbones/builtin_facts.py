"""What is fixed about the built-in backbone. Imports nothing: whoever only asks must not wait."""

from typing import Final

BUILTIN: Final = "builtin"
DIMS: Final = 256
MEAN: Final = 0.45  # input normalisation of every channel: (level / 255 - MEAN) / STD
STD: Final = 0.25
# The weights of new collections, and all that ship: a collection goes on with those it was made with.
FIRST_WEIGHTS_SHA256: Final = "63aabab9d2aee7396b11b024b780ea8698f2facd534f2e80d85d783a18f6d150"
WEIGHTS_SHA256: Final = "3c74f1a684b5b06d2ee16e6eef36a8b00ea47e3a84e7bbf75e633efdd5449b3c"
WEIGHTS_FILES: Final = {FIRST_WEIGHTS_SHA256: "builtin-1.safetensors", WEIGHTS_SHA256: "builtin.safetensors"}
LICENCE: Final = "apache-2.0"
