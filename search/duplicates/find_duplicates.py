"""Job: find exact and near copies in a snapshot, as star groups. Reads only.

    equal bytes or pixels -> one node -> exact range search over the nodes -> what people said, dates and places
                          -> pixels -> scores, where somebody stands for them -> stars around keepers

Blank pictures and others without texture are never near copies: their embeddings say nothing.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from search.duplicates.answers import Answers
from search.duplicates.candidates import Candidates, joined, numbered
from search.duplicates.describing import Describing
from search.duplicates.grouping import Star, StarGroups
from search.duplicates.groups import DuplicateGroup
from search.duplicates.judging import Judge, Limits
from search.duplicates.keeper_rules import KeeperRules
from search.duplicates.measuring import KeeperPictures
from search.duplicates.nodes import Node, NodePair, nodes_of, sayings_of
from search.duplicates.picture_facts import PictureFacts
from search.duplicates.report import DuplicateReport, DuplicateRequest, Told
from search.duplicates.sidecars import Beside
from search.duplicates.similar import SimilarPairs
from search.duplicates.stand_ins import stand_ins
from search.finding.plain_pictures import MIN_CONTRAST, why_plain_image
from search.finding.snapshot import Snapshot
from search.folders import NamedFolders
from search.index.pair_finder import NearPairs, exact_scores
from search.pairing.collection_pairs import CollectionPairs
from search.records import Embeddings, ImageRecord, path_of_uri
from search.storing.catalogue import Catalogue
from search.storing.verdicts import Verdict, kept_contents

NEIGHBOURS = 20  # of a picture by chance that are worth looking at
SAMPLED = 2_000  # pictures, of which all pairs are compared
FLOOR_STEP = 0.05


@dataclass(frozen=True, slots=True)
class Looking:
    """Who looks at pixels. pictures: None where nobody can. threads: that compare them. answers: what earlier runs saw,
    and where it is kept for the next; None for nowhere.
    """

    pictures: KeeperPictures | None = None
    threads: int = 1
    answers: Answers | None = None

    @property
    def facts(self) -> PictureFacts | None:
        """Return who answers questions about pictures, None where nobody can look at them."""
        return None if self.pictures is None else PictureFacts(self.pictures, self.answers)


def find_duplicates(  # noqa: PLR0913, PLR0917 -- what a job is made of, put together by a main
    snapshot: Snapshot,
    catalogue: Catalogue,
    request: DuplicateRequest,
    verdicts: Sequence[Verdict] = (),
    looking: Looking | None = None,
    told: Told | None = None,
    pairs: CollectionPairs | None = None,
) -> DuplicateReport:
    """Return all duplicate groups of a snapshot.

    pairs: what finds near pairs, by default the CPU, which keeps nothing for the next run. Identical contents are
    compared once, and each pair that is near is looked at once at most, in this run and those after it.
    """
    looking, told = looking or Looking(), told or Told()
    ids = snapshot.all_ids().tolist()
    records = below(catalogue.images_by_id(snapshot.collection.id, ids).values(), request.within)
    nodes = nodes_of(records, verdicts)
    said = sayings_of(nodes, verdicts)
    floor = crowded_floor(snapshot, request)
    shown = textured(nodes)
    compared = [nodes[number][0].id for number in shown.tolist()]
    found = (pairs or CollectionPairs(catalogue.database)).within(snapshot, compared, floor, told.comparing)
    near = joined(numbered(found.near, shown), pairs_said(said, nodes, [snapshot] * len(nodes)))
    crowd = found.crowd and found.crowd.called(*(shown[places] for places in found.crowd.names))
    candidates = Candidates(len(nodes), near, crowd)
    limits = Limits(request.threshold, floor)
    judge, facts = Judge(nodes, limits, said, looking.pictures, looking.threads, looking.answers), looking.facts
    add_stacks(judge.similar, said, nodes, [snapshot] * len(nodes))
    stars = StarGroups(nodes, candidates, judge, request.rules, facts, said)
    kept = kept_contents(verdicts)
    with Describing(facts, request.known, looking.threads) as describing:
        formed = [_group(nodes, star, request.rules, kept, describing) for star in stars.stars(told.looking)]
    groups = sorted(_without_torn_pairs(formed), key=lambda group: (-len(group.members), group.keeper.id))
    counted = floor if request.threshold is None else request.threshold
    similar = judge.similar.shots()
    return DuplicateReport(
        len(records), counted, tuple(groups), found.pair_recall, similar, floor, judge.looked_at, judge.known
    )


def below(images: Iterable[ImageRecord], folder: Path | None) -> list[ImageRecord]:
    """Return the images below a folder, whatever path leads to it; all where there is none."""
    if folder is None:
        return list(images)
    wanted = NamedFolders([folder])
    placed = ((image, path_of_uri(image.uri)) for image in images)
    return [image for image, path in placed if path is not None and wanted.hold(path)]


def crowded_floor(snapshot: Snapshot, request: DuplicateRequest) -> float:
    """Return from which score on pairs are looked at: the floor of the request, or a higher one up to its ceiling.

    Unrelated pictures of a large collection have neighbours by chance, the more, the larger it is. The floor rises
    until a picture has about NEIGHBOURS of them, as a sample of rows tells; in steps, so that a collection that grew a
    little is compared from the same score on, and pairs that are known need not be found again.
    """
    if request.ceiling <= request.floor or len(snapshot) <= NEIGHBOURS:
        return request.floor
    sample = snapshot.embeddings_of(np.sort(snapshot.sample(SAMPLED)))
    scores = (sample @ sample.T)[np.triu_indices(len(sample), 1)]
    chance = float(np.quantile(scores, 1 - NEIGHBOURS / len(snapshot)))
    return float(min(max(request.floor, np.ceil(chance / FLOOR_STEP) * FLOOR_STEP), request.ceiling))


def textured(nodes: Sequence[Node]) -> NDArray[np.int64]:
    """Return the numbers of the nodes that show something, ascending."""
    shown = [node[0].contrast >= MIN_CONTRAST and why_plain_image(node[0]) is None for node in nodes]
    return np.flatnonzero(np.array(shown, bool))


def pairs_said(
    said: Mapping[NodePair, Verdict], nodes: Sequence[Node], of: Sequence[Snapshot], *, stored: bool = False
) -> NearPairs:
    """Return the pairs that people called duplicates, however low they score.

    of: the snapshot of each node. stored: score embeddings as segments keep them, as transforms of two differ.
    """
    return _scored([pair for pair, verdict in said.items() if verdict.is_duplicate], nodes, of, stored=stored)


def add_stacks(
    similar: SimilarPairs,
    said: Mapping[NodePair, Verdict],
    nodes: Sequence[Node],
    of: Sequence[Snapshot],
    *,
    stored: bool = False,
) -> None:
    """Remember the pairs that people stacked, however low they score and whichever groups they are in.

    Arguments as of `pairs_said`.
    """
    pairs = _scored([pair for pair, verdict in said.items() if verdict.said == "stack"], nodes, of, stored=stored)
    for one, other, score in zip(pairs.rows.tolist(), pairs.later.tolist(), pairs.scores.tolist(), strict=True):
        similar.add("stack", nodes[one][0], nodes[other][0], min(score, 1.0))


def _scored(pairs: Sequence[NodePair], nodes: Sequence[Node], of: Sequence[Snapshot], *, stored: bool) -> NearPairs:
    """Return pairs of nodes with their scores."""

    def rows(side: int) -> Embeddings:
        ids = [np.array([nodes[pair[side]][0].id], np.int64) for pair in pairs]
        each = [of[pair[side]].embeddings_of(one, stored=stored) for pair, one in zip(pairs, ids, strict=True)]
        return np.concatenate(each) if each else np.empty((0, 1), np.float32)

    one, other = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))
    every = np.arange(len(pairs))
    return NearPairs(one, other, exact_scores(rows(0), every, rows(1), every))


def _group(
    nodes: Sequence[Node], star: Star, rules: KeeperRules, kept: Container[bytes], describing: Describing
) -> DuplicateGroup:
    """Return the group of a star, without what stays whatever it is a copy of. kept: contents that all stay."""
    keeper = star.keeper.image

    def may_go(image: ImageRecord) -> bool:
        return not rules.is_protected(image) and image.sha256 not in kept

    same = [image for image in nodes[star.centre] if image.id != keeper.id and may_go(image)]
    near = [(image, edge) for node, edge in star.edges.items() for image in nodes[node] if may_go(image)]
    best = {one: best for node in star.edges for one, best in stand_ins(nodes[node], rules, describing.facts).items()}
    members = [describing.exact(keeper, image) for image in same]
    members += [replace(member, copy_of=best.get(member.image.id)) for member in describing.members(keeper, near)]
    members.sort(key=lambda member: (-member.score, member.relation, member.image.id))
    return DuplicateGroup(keeper, star.keeper.reason, tuple(members))


def _without_torn_pairs(groups: Sequence[DuplicateGroup]) -> list[DuplicateGroup]:
    """Return groups without the members whose other half, the RAW of a JPEG or the reverse, would stay behind."""
    beside = Beside()
    going = {path_of_uri(member.image.uri) for group in groups for member in group.members}
    found = []
    for group in groups:
        members = tuple(
            member
            for member in group.members
            if (path := path_of_uri(member.image.uri)) is None
            or (half := beside.other_half_of(path)) is None
            or half in going
        )
        if members:
            found.append(DuplicateGroup(group.keeper, group.reason, members))
    return found
