"""From pairs to duplicate groups: stars, formed one after the other around the likeliest keepers.

Groups are stars: each member has a direct edge to the keeper, so that A-B and B-C never pull A and C together
(chained groups of unrelated pictures are what users of other tools fear most). Images with the same pixels are one
node, so that ten thousand copies of one picture cost ten thousand steps and not their square. Where a member turns out
to be the better keeper, the star is formed anew around it, so a picture of n copies costs about 2 n comparisons.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from search.duplicates.candidates import Candidates
from search.duplicates.comparing import Comparison, Copy
from search.duplicates.judging import Edge, Judge
from search.duplicates.keeper_rules import LOSSLESS_FORMATS, KeeperRules
from search.duplicates.keeping import Choice, choose
from search.duplicates.nodes import Node, NodePair
from search.duplicates.picture_facts import PictureFacts
from search.geometry.verification import reversed_roles
from search.index.pair_finder import Progress
from search.storing.verdicts import Verdict


@dataclass(frozen=True, slots=True, eq=False)
class Star:
    """A picture and its copies: nodes by number, each with its edge to the centre, which is the keeper's node."""

    centre: int
    edges: Mapping[int, Edge]
    keeper: Choice


class StarGroups:
    """Forms stars of nodes; every node is in at most one."""

    def __init__(  # noqa: PLR0913, PLR0917 -- what a job is made of, put together in one place
        self,
        nodes: Sequence[Node],
        candidates: Candidates,
        judge: Judge,
        rules: KeeperRules,
        facts: PictureFacts | None,
        said: Mapping[NodePair, Verdict],
    ) -> None:
        self._nodes = [sorted(node, key=rules.at_first_sight) for node in nodes]
        self._candidates = candidates
        self._judge = judge
        self._rules = rules
        self._facts = facts
        self._partners = _partners(said)
        self._free = set(range(len(nodes)))

    def stars(self, progress: Progress = lambda done, total: None) -> Iterator[Star]:
        """Yield all stars with two images at least, those of likely keepers first.

        What people called duplicates comes before everything else, so that no other star tears it apart.
        """
        met = {number for number in self._free if self._candidates.has_any(number)}
        order = sorted(
            met, key=lambda one: (-len(self._partners[one]), self._rules.at_first_sight(self._nodes[one][0]))
        )
        for number in sorted(self._free - met):
            if len(self._nodes[number]) > 1:
                yield Star(number, {}, self._choice(number, {}))
        for done, centre in enumerate(order, start=1):
            if centre in self._free:
                star = self._around(centre)
                self._free.difference_update((star.centre, *star.edges))
                if star.edges or len(self._nodes[star.centre]) > 1:
                    yield star
            progress(done, len(order))

    def _around(self, centre: int) -> Star:
        """Return the star of a node, or that of the better keeper found in it.

        Where each of several centres names another one, as measured differences allow, the one named most often wins,
        of as many the likeliest.
        """
        star = self._star(centre, {})
        tried, named = {centre: star}, Counter[int]()
        reasons: dict[int, str] = {}
        while (better := self._node_of(star)) != star.centre:
            named[better] += 1
            reasons[better] = star.keeper.reason
            if better in tried:
                most = max(named.values())
                first = min((one for one in tried if named[one] == most), key=self._likely)
                return self._kept_at(tried[first], reasons[first])
            moved = self._star(better, {star.centre: _turned(star.edges[better])})
            if not self._partners[star.centre] & set(star.edges) <= {better, *moved.edges}:
                return self._kept_at(star, "")  # moving would tear apart what people called duplicates
            star = tried[better] = moved
        return star

    def _kept_at(self, star: Star, reason: str) -> Star:
        """Return a star with the best image of its centre as the keeper. reason: why the others are no better."""
        choice = self._choice(star.centre, {})
        if reason and len(self._nodes[star.centre]) == 1:
            choice = replace(choice, reason=reason)
        return Star(star.centre, star.edges, choice)

    def _likely(self, node: int) -> tuple[bool | int | str, ...]:
        """Return a sort key: pixels, then lossy files before lossless ones that were made of them, then bytes."""
        image = self._nodes[node][0]
        is_made = image.format in LOSSLESS_FORMATS
        size = (-image.width * image.height, is_made, -image.size_bytes)
        return not self._rules.is_protected(image), *size, *self._rules.at_first_sight(image)

    def _star(self, centre: int, known: Mapping[int, Edge]) -> Star:
        """Return the star of a node. known: edges that were judged before."""
        others, scores = self._candidates.of(centre)
        asked = [
            (other, score)
            for other, score in zip(others.tolist(), scores.tolist(), strict=True)
            if other in self._free and other not in known
        ]
        judged = self._judge.edges(centre, [other for other, _ in asked], [score for _, score in asked])
        edges = dict(known) | judged
        return Star(centre, edges, self._choice(centre, edges))

    def _choice(self, centre: int, edges: Mapping[int, Edge]) -> Choice:
        copies = [Copy(image, None) for image in self._nodes[centre]]
        copies += [Copy(image, edge) for node, edge in edges.items() for image in self._nodes[node]]
        return choose(self._rules, Comparison(self._nodes[centre][0], copies, self._facts))

    def _node_of(self, star: Star) -> int:
        kept = star.keeper.image.id
        return next(node for node in (star.centre, *star.edges) if any(image.id == kept for image in self._nodes[node]))


def _partners(said: Mapping[NodePair, Verdict]) -> defaultdict[int, set[int]]:
    partners: defaultdict[int, set[int]] = defaultdict(set)
    for (one, other), verdict in said.items():
        if verdict.is_duplicate:
            partners[one].add(other)
            partners[other].add(one)
    return partners


def _turned(edge: Edge) -> Edge:
    """Return an edge as it looks from its other end."""
    found = None if edge.found is None else reversed_roles(edge.found)
    return Edge(edge.score, edge.verified, edge.confirmed, found)
