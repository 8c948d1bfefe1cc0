"""What came of comparing two pictures as values of JSON, and what stands for how one lies over the other."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from search.duplicates.answers import digest
from search.geometry.overlap import Overlap
from search.geometry.verification import Verification


def digest_of(found: Verification) -> bytes:
    """Return what stands for how one picture lies over another."""
    model, shared = found.model, found.shared
    parts = [np.array([*found.query_size, *found.candidate_size, found.mirrored], np.float64)]
    parts.append(np.empty(0) if model is None else np.asarray(model, np.float64))
    if shared is not None:
        parts += [shared.in_query, shared.in_candidate, np.array([shared.of_query, shared.of_candidate])]
    return digest(*parts)


def as_numbers(found: Verification) -> dict[str, Any]:
    """Return an answer without the places of its inliers as values of JSON, exact to the bit; of a "no" and a "cannot"
    only what says so.
    """
    shape: dict[str, Any] = {
        "answer": found.answer,
        "reason": found.reason,
        "sizes": [*found.query_size, *found.candidate_size],
        "matches": found.matches,
    }
    if found.answer != "yes":
        return shape
    return shape | {
        "model": None if found.model is None else np.asarray(found.model, np.float64).tolist(),
        "mirrored": bool(found.mirrored),
        "cells": [int(found.query_cells), int(found.candidate_cells)],
        "agreement": None if found.agreement is None else float(found.agreement),
        "shared": None if found.shared is None else _shared_as_numbers(found.shared),
    }


def of_numbers(shape: Mapping[str, Any]) -> Verification:
    """Return the answer that `as_numbers` made these values of."""
    width, height, other_width, other_height = shape["sizes"]
    model, shared = shape.get("model"), shape.get("shared")
    query_cells, candidate_cells = shape.get("cells", (0, 0))
    return Verification(
        shape["answer"],
        shape["reason"],
        (width, height),
        (other_width, other_height),
        shape["matches"],
        None if model is None else np.array(model, np.float64),
        mirrored=shape.get("mirrored", False),
        query_cells=query_cells,
        candidate_cells=candidate_cells,
        agreement=shape.get("agreement"),
        shared=None if shared is None else _shared_of_numbers(*shared),
    )


def _shared_as_numbers(shared: Overlap) -> list[Any]:
    shares = [float(shared.of_query), float(shared.of_candidate)]
    return [shared.in_query.tolist(), shared.in_candidate.tolist(), *shares]


def _shared_of_numbers(ours: list[list[float]], theirs: list[list[float]], of_ours: float, of_theirs: float) -> Overlap:
    return Overlap(np.array(ours, np.float64), np.array(theirs, np.float64), of_ours, of_theirs)
