"""Shows rows that go through a real small model of scikit-learn: many at a time, loaded once a process, in processes."""

from __future__ import annotations

import joblib
import pytest
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier

import flownb as fn

pytestmark = pytest.mark.usefixtures("connection")

ROWS = 300


@pytest.fixture(scope="module")
def digits():
    return load_digits(as_frame=True)


@pytest.fixture(scope="module")
def model_file(digits, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "digits.joblib"
    forest = RandomForestClassifier(20, random_state=0).fit(digits.data[ROWS:], digits.target[ROWS:])
    joblib.dump(forest, path)
    return str(path)


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_pictures_of_digits_are_read_as_the_model_alone_reads_them(executor, digits, model_file):
    def load_model():
        import joblib

        return joblib.load(model_file)

    @fn.task(batch_size=64, setup={"model": load_model})
    def digit(rows, model):
        sure = model.predict_proba(rows).max(axis=1)
        return rows.assign(digit=model.predict(rows), sure=sure)[["digit", "sure"]]

    pictures = digits.data.head(ROWS).set_axis([f"picture {n}" for n in range(ROWS)])
    with fn.workers(2, executor=executor):
        found = fn.fan_out(pictures, digit).results(timeout=120)
    alone = joblib.load(model_file)
    assert found.index.equals(pictures.index)
    assert found["digit"].tolist() == alone.predict(pictures).tolist()
    assert found["sure"].tolist() == alone.predict_proba(pictures).max(axis=1).tolist()


def test_a_picture_that_the_model_refuses_fails_alone(digits, model_file):
    @fn.task(batch_size=64, setup={"model": lambda: joblib.load(model_file)})
    def digit(picture, model):
        return model.predict([list(values) for values in picture])

    pictures = [list(map(float, row)) for row in digits.data.head(ROWS).to_numpy()]
    pictures[100] = pictures[100][:63]
    batch = fn.fan_out([{"picture": picture} for picture in pictures], digit).wait(timeout=120)
    assert batch.failures.index.tolist() == [100]
    assert (
        batch.results(failed="drop")["digit"].tolist()
        == joblib.load(model_file).predict(digits.data.head(ROWS).drop(100).to_numpy()).tolist()
    )
