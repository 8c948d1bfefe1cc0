"""Numbers that come as texts, in addresses and in forms: spelled as JSON spells them, or refused.

Python, and pydantic with it, also reads 1_0, +10, " 10" and 010, and 10.0 for a whole number.
"""

import re
from typing import Annotated, Final

from pydantic import BeforeValidator
from pydantic_core import PydanticKnownError

_WHOLE: Final = re.compile(r"-?(0|[1-9][0-9]*)")
_ANY: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")


def require_whole(value: object) -> object:
    """Return a value, which is no text that spells a whole number in another way than JSON does.

    Raises:
        PydanticKnownError: it is.
    """
    if isinstance(value, str) and _WHOLE.fullmatch(value) is None:
        raise PydanticKnownError("int_parsing")
    return value


def require_number(value: object) -> object:
    """Return a value, which is no text that spells a number in another way than JSON does.

    Raises:
        PydanticKnownError: it is.
    """
    if isinstance(value, str) and _ANY.fullmatch(value) is None:
        raise PydanticKnownError("float_parsing")
    return value


# The numbers of addresses: parameters of handlers that are numbers are these.
Whole = Annotated[int, BeforeValidator(require_whole)]
Number = Annotated[float, BeforeValidator(require_number)]
# What reads a number of each kind in a form.
REQUIRED: Final = {int: require_whole, float: require_number}
