"""The confusion report against numbers worked out by hand."""

import json

import numpy as np
import pytest

from indexer.finetuning.confusion import Confusion, Mistake

#                  cat cat cat cat dog dog bird bird
ACTUAL = np.array([0, 0, 0, 0, 1, 1, 2, 2])
PREDICTED = np.array([0, 0, 1, 1, 1, 0, 2, 0])
CLASSES = ("cat", "dog", "bird")


def test_the_matrix_has_true_classes_as_rows() -> None:
    found = Confusion.of(CLASSES, ACTUAL, PREDICTED)
    assert found.counts.tolist() == [[2, 2, 0], [1, 1, 0], [1, 0, 1]]
    assert found.accuracy == 4 / 8


def test_precision_recall_and_f1_are_those_worked_out_by_hand() -> None:
    cat, dog, bird = Confusion.of(CLASSES, ACTUAL, PREDICTED).by_class()
    assert (cat.pictures, cat.precision, cat.recall, cat.f1) == (4, 2 / 4, 2 / 4, 1 / 2)
    assert (dog.pictures, dog.precision, dog.recall) == (2, 1 / 3, 1 / 2)
    assert dog.f1 == pytest.approx(2 * (1 / 3) * (1 / 2) / (1 / 3 + 1 / 2))
    assert (bird.pictures, bird.precision, bird.recall) == (2, 1.0, 1 / 2)
    assert bird.f1 == pytest.approx(2 / 3)


def test_the_worst_mistakes_come_first_and_right_answers_are_none() -> None:
    assert Confusion.of(CLASSES, ACTUAL, PREDICTED).mistakes(2) == [Mistake("cat", "dog", 2), Mistake("dog", "cat", 1)]
    assert Confusion.of(CLASSES, ACTUAL, ACTUAL).mistakes(10) == []


def test_a_class_that_is_never_predicted_has_precision_0_and_no_division_by_zero() -> None:
    (_, dog) = Confusion.of(("cat", "dog"), np.array([0, 1]), np.array([0, 0])).by_class()
    assert (dog.precision, dog.recall, dog.f1) == (0.0, 0.0, 0.0)


def test_the_report_is_json_and_the_matrix_csv() -> None:
    found = Confusion.of(('a "quoted", name', "dog"), np.array([0, 1, 1]), np.array([0, 1, 0]))
    assert json.loads(json.dumps(found.as_json()))["matrix"] == [[1, 0], [1, 1]]
    assert found.as_csv() == 'actual \\ predicted,"a ""quoted"", name",dog\n"a ""quoted"", name",1,0\ndog,1,1\n'
