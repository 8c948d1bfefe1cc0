"""Job: which images of one collection are copies of images of another one, as between training and test sets.

    both collections as nodes -> pairs across -> judged as within one -> each image to the one it is most like

The other collection holds the keepers: nothing of it is ever a member.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from search.duplicates.candidates import Candidates, joined
from search.duplicates.describing import Describing
from search.duplicates.find_duplicates import Looking, add_stacks, below, crowded_floor, pairs_said, textured
from search.duplicates.groups import DuplicateGroup
from search.duplicates.judging import Edge, Judge, Limits
from search.duplicates.keeper_rules import KeeperRules
from search.duplicates.nodes import Node, nodes_of, sayings_of
from search.duplicates.report import DuplicateReport, DuplicateRequest, Told
from search.duplicates.stand_ins import stand_ins
from search.errors import UsageError
from search.finding.snapshot import Snapshot
from search.index.pair_finder import NearPairs, Progress
from search.pairing.collection_pairs import CollectionPairs
from search.records import ImageRecord
from search.storing.catalogue import Catalogue
from search.storing.verdicts import Verdict

_CERTAIN = (True, True, 1.0)  # that somebody says so, that pixels do, and the score


def find_leaks(  # noqa: PLR0913, PLR0917 -- what a job is made of, put together by a main
    snapshot: Snapshot,
    other: Snapshot,
    catalogue: Catalogue,
    request: DuplicateRequest,
    verdicts: Sequence[Verdict] = (),
    looking: Looking | None = None,
    told: Told | None = None,
    pairs: CollectionPairs | None = None,
) -> DuplicateReport:
    """Return the images of a snapshot that are copies of images of another one, as groups around the latter.

    Raises:
        UsageError: they are of one collection.
        SpaceMismatch: their scores cannot be compared.
    """
    name = other.collection.name
    if snapshot.collection.id == other.collection.id:
        raise UsageError(f"`between` names {name} itself; name another collection")
    looking, told = looking or Looking(), told or Told()
    mine = below(_records(snapshot, catalogue), request.within)
    theirs = _records(other, catalogue)
    left, right = nodes_of(mine, verdicts), nodes_of(theirs, verdicts)
    nodes, of = [*left, *right], [*([snapshot] * len(left)), *([other] * len(right))]
    said = {pair: one for pair, one in sayings_of(nodes, verdicts).items() if pair[0] < len(left) <= pair[1]}
    floor = crowded_floor(snapshot, request)
    sides = [(part, textured(part)) for part in (left, right)]
    asked = [[part[number][0].id for number in shown.tolist()] for part, shown in sides]
    finding = pairs or CollectionPairs(catalogue.database)
    found = finding.between((snapshot, asked[0]), (other, asked[1]), floor, told.comparing)
    near = NearPairs(sides[0][1][found.near.rows], sides[1][1][found.near.later] + len(left), found.near.scores)
    crowd = found.crowd
    if crowd is not None:
        crowd = crowd.called(sides[1][1][crowd.names[0]] + len(left), sides[0][1][crowd.names[1]])
    candidates = Candidates(len(nodes), joined(near, pairs_said(said, nodes, of, stored=True)), crowd)
    limits = Limits(request.threshold, floor)
    judge = Judge(nodes, limits, said, looking.pictures, looking.threads, looking.answers)
    add_stacks(judge.similar, said, nodes, of, stored=True)
    same = [pair for pair in _same_pixels(nodes, len(left)) if pair not in said or not said[pair].keeps_apart]
    edges = _best_edges(nodes, len(left), same, candidates, judge, told.looking)
    with Describing(looking.facts, request.known, looking.threads) as describing:
        groups = [_group(nodes, node, copies, request.rules, describing, name) for node, copies in edges.items()]
    ordered = tuple(sorted(groups, key=lambda group: (-len(group.members), group.keeper.id)))
    counted = floor if request.threshold is None else request.threshold
    images, similar = len(mine) + len(theirs), judge.similar.shots()
    return DuplicateReport(images, counted, ordered, found.pair_recall, similar, floor, judge.looked_at, judge.known)


def _records(snapshot: Snapshot, catalogue: Catalogue) -> list[ImageRecord]:
    return list(catalogue.images_by_id(snapshot.collection.id, snapshot.all_ids().tolist()).values())


def _best_edges(  # noqa: PLR0913, PLR0917 -- the parts of one job
    nodes: Sequence[Node],
    mine: int,
    same: Iterable[tuple[int, int]],
    candidates: Candidates,
    judge: Judge,
    progress: Progress,
) -> Mapping[int, Mapping[int, Edge]]:
    """Return by node of the other collection which nodes of this one are copies of it; each of them is in one group.

    same: nodes of this collection and of the other one with the same pixels.
    """
    best = {one: (_CERTAIN, other, Edge(1.0, None)) for one, other in same}
    for done, centre in enumerate(range(mine, len(nodes)), start=1):
        others, scores = candidates.of(centre)
        pairs = zip(others.tolist(), scores.tolist(), strict=True)
        asked = [pair for pair in pairs if pair[0] not in best or best[pair[0]][0] < _CERTAIN]
        for node, edge in judge.edges(centre, [one for one, _ in asked], [score for _, score in asked]).items():
            certainty = (edge.confirmed, edge.verified == "yes", edge.score)
            if node not in best or certainty > best[node][0]:
                best[node] = (certainty, centre, edge)
        progress(done, len(nodes) - mine)
    edges: defaultdict[int, dict[int, Edge]] = defaultdict(dict)
    for node, (_, centre, edge) in sorted(best.items()):
        edges[centre][node] = edge
    return edges


def _same_pixels(nodes: Sequence[Node], mine: int) -> Iterator[tuple[int, int]]:
    """Yield each node of this collection with each of the other one that has its pixels, the first of them last."""
    theirs: defaultdict[bytes, list[int]] = defaultdict(list)
    for number in range(len(nodes) - 1, mine - 1, -1):
        theirs[nodes[number][0].pixel_hash].append(number)
    for number, node in enumerate(nodes[:mine]):
        for other in theirs.get(node[0].pixel_hash, ()):
            yield number, other


def _group(  # noqa: PLR0913, PLR0917 -- what a group is made of
    nodes: Sequence[Node],
    centre: int,
    edges: Mapping[int, Edge],
    rules: KeeperRules,
    describing: Describing,
    name: str,
) -> DuplicateGroup:
    keeper = min(nodes[centre], key=lambda image: image.id)
    same = [image for node in edges for image in nodes[node] if image.pixel_hash == keeper.pixel_hash]
    near = [(image, edge) for node, edge in edges.items() for image in nodes[node] if image not in same]
    best = {one: best for node in edges for one, best in stand_ins(nodes[node], rules, describing.facts).items()}
    members = [describing.exact(keeper, image) for image in same]
    members += [replace(member, copy_of=best.get(member.image.id)) for member in describing.members(keeper, near)]
    members.sort(key=lambda member: (-member.score, member.relation, member.image.id))
    return DuplicateGroup(keeper, f"in the collection {name}", tuple(members))
