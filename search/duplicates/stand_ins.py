"""Which of several images with the same pixels stays where the keeper of their group is only a near copy of them.

Whoever acts on exact copies alone leaves near ones where they are; of copies of one another, one of these is enough.
"""

from collections.abc import Mapping, Sequence

from search.duplicates.comparing import Comparison, Copy
from search.duplicates.keeper_rules import KeeperRules
from search.duplicates.keeping import choose
from search.duplicates.picture_facts import PictureFacts
from search.records import ImageRecord


def stand_ins(
    images: Sequence[ImageRecord], rules: KeeperRules, facts: PictureFacts | None
) -> Mapping[int, ImageRecord]:
    """Return by id of each image, but the best of them, that best one: it stands in for the keeper of their group.

    images: of the same pixels, at least one. It is chosen as keepers are, so a protected one comes first. facts: None
    where nobody can look at pixels.
    """
    if len(images) == 1:
        return {}
    best = choose(rules, Comparison(images[0], [Copy(image, None) for image in images], facts)).image
    return {image.id: best for image in images if image.id != best.id}
