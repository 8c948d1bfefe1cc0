"""By what answers about pictures that were kept are known to be those that would be given again."""

from typing import Final

import cv2

from search.geometry.keypoints import RECIPE

# Goes up when the same two pictures get another answer: with anything in this room, with what search/duplicates asks of
# it, and with what indexer/file_facts.py reads. Answers that were kept before are then found anew.
# tests/test_answer_version.py fails when that code changes and nobody thought of it.
ANSWERS: Final = 5


def answers_version() -> str:
    """Return what answers depend on beside the pictures: this code, how keypoints are made, and OpenCV's release."""
    return f"{ANSWERS}-{RECIPE}-{cv2.__version__}"
