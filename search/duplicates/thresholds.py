"""From which score on two images of a space count as near copies, where nobody has calibrated the collection."""

from search.records import SpaceSpec

# The lowest score of a near-duplicate. Chosen on training/evaluation_set.py (61 pieces of photographs, 34
# edits, 2,000 procedural distractors), but for one photograph of stars: precision .965 and recall .68 over all edits,
# .967 and .90 over the light ones. The 19,900 pairs of 200 unrelated photographs reach .62 at most. The whole table is
# in docs/builtin.md.
BUILTIN_THRESHOLD = 0.80
# Collections that were made with the first weights keep what was measured for those.
FIRST_BUILTIN_WEIGHTS = "63aabab9d2aee7396b11b024b780ea8698f2facd534f2e80d85d783a18f6d150"
FIRST_BUILTIN_THRESHOLD = 0.75
# Not measured: the customary value for pooled networks (imagededup and fastdup use it too).
CUSTOMARY_THRESHOLD = 0.90


# From which score on pairs are looked at by their pixels, at the lowest: those that show the same picture count,
# however low they score. Of copies after light and medium edits 1 in 50 scores less with the built-in backbone
# (bench/dedup_quality.py); others were not measured.
BUILTIN_FLOOR = 0.50
CUSTOMARY_FLOOR = 0.75


def least_looked_at(space: SpaceSpec) -> float:
    """Return the cosine from which pairs are looked at, whatever the threshold is."""
    return BUILTIN_FLOOR if space.backbone == "builtin" else CUSTOMARY_FLOOR


def default_threshold(space: SpaceSpec) -> float:
    """Return the cosine from which a pair is reported as a near copy unless the user says otherwise."""
    if space.backbone != "builtin":
        return CUSTOMARY_THRESHOLD
    return FIRST_BUILTIN_THRESHOLD if space.weights_sha256 == FIRST_BUILTIN_WEIGHTS else BUILTIN_THRESHOLD
