"""From which score on two images of a space count as near copies, where nobody has calibrated the collection."""

from search.records import SpaceSpec

# The lowest score of a near-duplicate. Chosen on training/evaluation_set.py (61 pieces of photographs, 34
# edits, 2,000 procedural distractors): precision .997 and recall .60 over all edits, 1.000 and .91 over the light ones.
# The 19,900 pairs of 200 unrelated photographs reach .51 at most. The whole table is in docs/builtin.md.
BUILTIN_THRESHOLD = 0.75
# Not measured: the customary value for pooled networks (imagededup and fastdup use it too).
CUSTOMARY_THRESHOLD = 0.90


def default_threshold(space: SpaceSpec) -> float:
    """Return the cosine from which a pair is reported as a near copy unless the user says otherwise."""
    return BUILTIN_THRESHOLD if space.backbone == "builtin" else CUSTOMARY_THRESHOLD
