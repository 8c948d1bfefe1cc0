"""From pairs to duplicate groups. Pure: no storage, no index.

Groups are stars: each member has a direct edge to the keeper, so that A-B and B-C never pull A and C together
(chained groups of unrelated pictures are what users of other tools fear most). Images with the same pixels are one
node, so that ten thousand copies of one picture cost ten thousand steps and not their square.
"""

from collections.abc import Mapping, Sequence

from search.duplicates.groups import DuplicateGroup, DuplicateKind, DuplicateMember
from search.records import ImageRecord

# Where two copies are equally large, the format that kept more of the picture wins.
LOSSLESS = frozenset({"png", "bmp", "tiff"})
RULES = ("most pixels", "lossless format", "largest file", "oldest date", "shortest path", "indexed first")

Node = Sequence[ImageRecord]
Edges = Mapping[int, Mapping[int, float]]


def star_groups(nodes: Sequence[Node], edges: Edges) -> list[DuplicateGroup]:
    """Return groups of copies around the best keeper; every image is in at most one group.

    nodes: the images of each distinct picture, at least one each. edges: symmetric, node -> node -> score. Keepers
    are taken best first, so a group's keeper is the best of its members. Groups come largest first, members by
    falling score, both with ties by lower id.
    """
    order = sorted(range(len(nodes)), key=lambda node: min(map(keeper_rank, nodes[node])))
    free = set(order)
    groups = []
    for center in order:
        if center not in free:
            continue
        free.discard(center)
        near = {node: score for node, score in edges.get(center, {}).items() if node in free}
        if not near and len(nodes[center]) == 1:
            continue
        free.difference_update(near)
        groups.append(_group(nodes, center, near))
    return sorted(groups, key=lambda group: (-len(group.members), group.keeper.id))


def keeper_rank(image: ImageRecord) -> tuple[float, bool, int, int, int, int]:
    """Return a sort key: the image to keep comes first. Deterministic; the last resort is the lower id."""
    return (
        -image.width * image.height,
        image.format not in LOSSLESS,
        -image.size_bytes,
        image.mtime_ns,
        len(image.uri),
        image.id,
    )


def _group(nodes: Sequence[Node], center: int, near: Mapping[int, float]) -> DuplicateGroup:
    keeper = min(nodes[center], key=keeper_rank)
    members = [_exact(keeper, image) for image in nodes[center] if image.id != keeper.id]
    members += [
        DuplicateMember(image, score, "probable", "near") for node, score in near.items() for image in nodes[node]
    ]
    members.sort(key=lambda member: (-member.score, member.relation, member.image.id))
    return DuplicateGroup(keeper, _reason(keeper, [member.image for member in members]), tuple(members))


def _exact(keeper: ImageRecord, image: ImageRecord) -> DuplicateMember:
    kind: DuplicateKind = "same_bytes" if image.sha256 == keeper.sha256 else "same_pixels"
    return DuplicateMember(image, 1.0, "identical", kind)


def _reason(keeper: ImageRecord, members: Sequence[ImageRecord]) -> str:
    """Say by which rule the keeper came before the best of the others."""
    rival = min(members, key=keeper_rank)
    differs = [mine != theirs for mine, theirs in zip(keeper_rank(keeper), keeper_rank(rival), strict=True)]
    return RULES[differs.index(True)]
