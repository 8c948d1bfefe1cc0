"""Metadata of users: what is stored, what is refused, and what a patch makes of it."""

import math
import re
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.conditions.user_metadata import MAX_BYTES, MAX_DEPTH, MAX_KEY_LETTERS, MAX_KEYS, checked, merged
from search.errors import UsageError


def nested(levels: int) -> dict[str, object]:
    """Return objects of so many levels, one inside the other."""
    return {} if levels == 1 else {"in": nested(levels - 1)}


@pytest.mark.parametrize(
    ("stored", "patch", "expected"),
    [  # RFC 7396, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_patch_is_merged_as_the_standard_says(stored: object, patch: object, expected: object) -> None:
    before = deepcopy((stored, patch))
    assert merged(stored, patch) == expected
    assert (stored, patch) == before


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    # No NUL and no half of a character.
    | st.text(st.characters(min_codepoint=1, exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcö", min_size=1, max_size=3), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=2), values, max_size=4))
def test_everything_that_json_and_both_databases_hold_is_kept_as_it_is(metadata: dict[str, object]) -> None:
    try:
        assert checked(metadata) == metadata
    except UsageError as refused:
        assert "levels deep" in str(refused)


@pytest.mark.parametrize(
    "metadata",
    [
        nested(MAX_DEPTH),
        {"a": [[[[[[[1]]]]]]]},
        {str(n): n for n in range(MAX_KEYS)},
        {"k" * MAX_KEY_LETTERS: "x" * (MAX_BYTES - MAX_KEY_LETTERS - 7)},
        {"n": -(2**63), "m": 2**63 - 1, "x": 1e308, "ß": "\u2028\x01😀", 'a"b\\': {"0": [True, None]}},
    ],
)
def test_the_largest_that_is_allowed_is_kept(metadata: dict[str, object]) -> None:
    assert checked(metadata) == metadata


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        (nested(MAX_DEPTH + 1), "is nested more than 8 levels deep"),
        (nested(400), "is nested more than 8 levels deep"),
        ({"a": [[[[[[[[1]]]]]]]]}, "is nested more than 8 levels deep"),
        ({str(n): n for n in range(MAX_KEYS + 1)}, "metadata has more than 1000 keys"),
        ({"a": {str(n): n for n in range(MAX_KEYS)}}, "metadata has more than 1000 keys"),
        ({"k": "x" * (MAX_BYTES - 7)}, "metadata takes 65,537 bytes as JSON, the limit is 65,536"),
        ({"k": "ö" * (MAX_BYTES // 2)}, "bytes as JSON, the limit is"),
        ({"k" * (MAX_KEY_LETTERS + 1): 1}, "metadata has a key of 201 letters, the limit is 200"),
        ({"place": {"": 1}}, "metadata.place has the key ''; a key is a text that is not empty"),
        ({"place": {"x": math.nan}}, "metadata.place.x is nan, which JSON cannot hold"),
        ({"list": [0, -math.inf]}, "metadata.list.1 is -inf, which JSON cannot hold"),
        ({"n": 2**63}, "metadata.n is too large a number; the largest is 9223372036854775807: write it as text"),
        ({"n": 10**500}, "metadata.n is too large a number"),
        ({"n": "a\0b"}, "metadata.n holds a NUL or half of a character"),
        ({"a\0": 1}, "metadata holds a NUL or half of a character"),
        ({"n": "\ud800"}, "metadata.n holds a NUL or half of a character"),
        ({"\udfff": "\ud800"}, "holds a NUL or half of a character"),
        ({"n": b"bytes"}, "metadata.n is a bytes, which JSON does not have; write it as text"),
    ],
)
def test_what_a_database_cannot_hold_is_refused_by_name(metadata: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=re.escape(says)) as refused:
        checked(metadata)
    assert len(str(refused.value).encode()) < 200
