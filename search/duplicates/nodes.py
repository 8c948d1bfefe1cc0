"""Distinct pictures: images with the same pixels are one node, so that ten thousand copies of one picture are cheap.

A RAW file and a JPEG are two nodes even where the preview of the one equals the other, and so are contents of the same
pixels that a person wants kept apart: only what may be one group is one node.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from search.duplicates.sidecars import is_raw
from search.records import ImageRecord, path_of_uri
from search.storing.verdicts import Verdict

Node = Sequence[ImageRecord]
NodePair = tuple[int, int]


def nodes_of(images: Iterable[ImageRecord], verdicts: Iterable[Verdict]) -> list[Node]:
    """Return the images of each distinct picture, at least one each; the nodes and the images of each by id."""
    apart = {name for one in verdicts if one.keeps_apart for name in (one.first, one.second)}
    found: defaultdict[tuple[bytes, bool], list[ImageRecord]] = defaultdict(list)
    for image in sorted(images, key=lambda one: one.id):
        path = path_of_uri(image.uri)
        alone = image.sha256 if image.sha256 in apart else image.pixel_hash
        found[alone, path is not None and is_raw(path)].append(image)
    return list(found.values())


def sayings_of(nodes: Sequence[Node], verdicts: Iterable[Verdict]) -> Mapping[NodePair, Verdict]:
    """Return what people said about pairs of nodes, the lower number first. The latest on a pair counts."""
    of_content = {image.sha256: number for number, node in enumerate(nodes) for image in node}
    said: dict[NodePair, Verdict] = {}
    for one in sorted(verdicts, key=lambda verdict: (verdict.made_at, verdict.first, verdict.second)):
        first, second = of_content.get(one.first), of_content.get(one.second)
        if first is not None and second is not None and first != second:
            said[min(first, second), max(first, second)] = one
    return said
