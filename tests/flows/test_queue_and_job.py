"""Shows queues by themselves (counts, order, pause, many at once) and what a stored job tells."""

from __future__ import annotations

import datetime

import pytest

import flownb as fn


def test_counts_are_by_state(redis):
    queue = fn.Queue("q")
    assert queue.get_job_counts() == dict.fromkeys(
        ("waiting", "active", "delayed", "prioritized", "waiting-children", "completed", "failed"), 0
    )
    queue.add("a")
    queue.add("b", opts={"delay": "1h"})
    queue.add_bulk([{"name": "c", "opts": {"priority": 3}}, {"name": "d", "opts": {"priority": 1}}])
    fn.add({"name": "e", "queueName": "q", "children": [{"name": "f", "queueName": "other"}]})
    assert queue.get_job_counts() == {
        "waiting": 1,
        "active": 0,
        "delayed": 1,
        "prioritized": 2,
        "waiting-children": 1,
        "completed": 0,
        "failed": 0,
    }
    assert repr(queue) == "Queue('q')"


def test_jobs_come_in_the_order_in_which_they_will_run_and_the_newest_end_first(until):
    queue = fn.Queue("q")
    queue.add_bulk([{"name": str(i)} for i in range(10)])
    assert [job.name for job in queue.get_jobs("waiting")] == [str(i) for i in range(10)]
    assert [job.name for job in queue.get_jobs("waiting", 2, 4)] == ["2", "3", "4"]
    queue.add_bulk([{"name": f"p{rank}", "opts": {"priority": rank}} for rank in (3, 1, 2)])
    assert [job.name for job in queue.get_jobs("prioritized")] == ["p1", "p2", "p3"]
    assert [job.name for job in queue.get_jobs(["prioritized", "waiting"], 0, 0)] == ["p1", "0"]
    with fn.Worker("q", lambda job: 1 / 0 if job.name == "5" else None):
        until(lambda: queue.get_job_counts()["completed"] == 12)
    assert [job.name for job in queue.get_jobs("failed")] == ["5"]
    assert len(queue.get_jobs("completed")) == 12
    with pytest.raises(
        fn.OptionError, match=r"state: 'waiting', .*, 'failed', 'wait' or 'paused', not 'done'"
    ):
        queue.get_jobs("done")


def test_bullmqs_names_of_the_lists_mean_what_waits(redis):
    queue = fn.Queue("q")
    job = queue.add("mail")

    def names(state):
        return [found.name for found in queue.get_jobs(state)]

    assert names("wait") == names(["wait", "waiting", "paused"]) == ["mail"]
    assert names("paused") == queue.clean(0, state="paused") == []  # the queue is not
    queue.pause()
    assert names("wait") == names("paused") == names(["paused", "waiting"]) == ["mail"]
    assert queue.clean(0, state="paused") == [job.id]
    assert queue.clean(0, state="wait") == queue.get_jobs("wait") == []


def test_a_job_is_found_by_its_id_or_is_none():
    queue = fn.Queue("q")
    job = queue.add("j", {"x": 1}, {"jobId": "mine"})
    found = queue.get_job("mine")
    assert (found.id, found.name, found.queue_name, found.data) == ("mine", "j", "q", {"x": 1})
    assert repr(found) == repr(job) == "Job('j' in 'q')"
    assert queue.get_job("other") is None


def test_the_same_id_again_keeps_the_job_that_is_there():
    queue = fn.Queue("q")
    queue.add("first", 1, {"jobId": "mine"})
    again = queue.add("second", 2, {"jobId": "mine"})
    assert (again.name, again.data) == ("first", 1)
    assert queue.get_job_counts()["waiting"] == 1


def test_many_jobs_are_all_checked_before_the_first_is_written(redis):
    queue = fn.Queue("q")
    for bad, says in (
        ({"name": ""}, "jobs[2]: name must"),
        ({"name": "x", "opts": {"attemps": 1}}, "jobs[2]: opts.attemps: no such option"),
        ({"name": "x", "data": 1j}, "jobs[2]: data: a complex is not JSON"),
        ({"data": 1}, "jobs[2]: 'name' is missing"),
    ):
        with pytest.raises((fn.FlowError, fn.OptionError)) as refusal:
            queue.add_bulk([{"name": "a"}, {"name": "b"}, bad])
        assert str(refusal.value).startswith(says)
    assert redis.dbsize() == 0


def test_more_jobs_than_one_call_holds_keep_their_order():
    queue = fn.Queue("q")
    jobs = queue.add_bulk({"name": "j", "data": i} for i in range(1200))
    assert [job.data for job in jobs] == list(range(1200))
    assert [job.data for job in queue.get_jobs("waiting", 0, 2000)] == list(range(1200))
    assert queue.add_bulk([]) == []


def test_pause_and_resume():
    queue = fn.Queue("q")
    assert not queue.is_paused()
    queue.resume()
    queue.pause()
    queue.pause()
    assert queue.is_paused()
    assert fn.Queue("q").is_paused()
    queue.resume()
    assert not queue.is_paused()


@pytest.mark.parametrize("name", ["", "a:b", "a*", None, " a", "flownb"])
def test_names_a_queue_cannot_have(name):
    with pytest.raises(fn.FlowError, match="the name "):
        fn.Queue(name)


def test_a_job_tells_its_points_in_time_in_utc(until):
    queue = fn.Queue("q")
    job = queue.add("j")
    assert job.processed_on is job.finished_on is None
    assert job.timestamp.tzinfo is datetime.UTC
    with fn.Worker("q", lambda job: None):
        until(lambda: job.get_state() == "completed")
    job = queue.get_job(job.id)
    assert job.timestamp <= job.processed_on <= job.finished_on
    assert abs(job.finished_on - datetime.datetime.now(datetime.UTC)) < datetime.timedelta(minutes=1)


def test_fields_stay_as_they_were_read_and_questions_ask_the_server(until):
    job = fn.Queue("q").add("j")
    with fn.Worker("q", lambda job: 7):
        until(lambda: job.get_state() == "completed")
    assert job.returnvalue is None
    assert fn.Queue("q").get_job(job.id).returnvalue == 7


def test_a_job_of_a_queue_is_not_said_to_be_another_programs(connection):
    fn.Queue("mails").add("greet", opts={"jobId": "g1"})
    flow = fn.attach("mails:g1")

    for refused, instead in ((flow.cancel, r"remove\(\)"), (flow.pause, "pause"), (flow.resume, "resume")):
        with pytest.raises(fn.FlowError, match=f"'greet' is stored as BullMQ stores it.*{instead}") as caught:
            refused()
        assert "another program" not in str(caught.value)
    flow.remove()
    assert fn.Queue("mails").get_job("g1") is None


def test_progress_that_was_just_told_is_the_jobs():
    job = fn.Queue("mails").add("greet")
    job.update_progress({"sent": 3})
    assert job.progress == {"sent": 3}

    with fn.Worker("mails", lambda job: [job.update_progress(step) or job.progress for step in (1, 2.5)]):
        assert fn.attach(job).result(timeout=30) == [1, 2.5]


def test_a_job_from_outside_can_be_told_of_progress_data_and_logs():
    queue = fn.Queue("q")
    job = queue.add("j", {"old": 1}, {"keepLogs": 2})
    assert (job.progress, job.get_logs()) == (0, [])
    job.update_progress(50)
    job.update_data({"new": 2})
    assert [job.log(f"row {i}") for i in range(3)] == [1, 2, 2]
    found = queue.get_job(job.id)
    assert (found.progress, found.data, found.get_logs()) == (50, {"new": 2}, ["row 1", "row 2"])
    assert job.data == {"new": 2}


def test_a_job_that_is_gone_says_so(redis):
    job = fn.Queue("q").add("j")
    redis.delete(f"bull:q:{job.id}")
    assert job.get_state() == "unknown"
    for tell in (lambda: job.update_progress(1), lambda: job.update_data(1), lambda: job.log("x")):
        with pytest.raises(fn.JobMissing):
            tell()
    assert not redis.exists(f"bull:q:{job.id}", f"bull:q:{job.id}:logs")


def test_dependencies_are_told_by_how_the_children_ended(until):
    ids = ["ok", "bad", "ignored", "open"]
    children = [{"name": id, "queueName": f"q-{id}", "opts": {"jobId": f"{id}1"}} for id in ids]
    children[2]["opts"]["failParentOnFailure"] = False
    flow = fn.add({"name": "top", "queueName": "top", "children": children}, on_failure="finish")
    assert flow.job.parent is None
    assert fn.Queue("q-ok").get_job("ok1").parent == f"top:{flow.job.id}"
    with fn.Worker(["q-ok", "q-ignored"], lambda job: 1 / 0 if job.name == "ignored" else "fine"):
        until(lambda: flow.progress().completed + flow.progress().failed == 2)
    with fn.Worker("q-bad", lambda job: 1 / 0):
        flow.wait(timeout=20)
    assert flow.job.get_dependencies() == {
        "processed": {"q-ok:ok1": "fine"},
        "unprocessed": ["q-open:open1"],
        "failed": ["q-bad:bad1"],
        "ignored": {"q-ignored:ignored1": "ZeroDivisionError: division by zero"},
    }
    assert flow.job.get_dependencies_count() == {"processed": 1, "unprocessed": 1, "failed": 1, "ignored": 1}


def test_a_job_with_children_is_refused_by_a_queue(redis):
    with pytest.raises(
        fn.FlowError, match=r"jobs\[0\]: a job with children is a flow; add it with FlowProducer"
    ):
        fn.Queue("q").add_bulk([{"name": "a", "children": [{"name": "b", "queueName": "q"}]}])
    assert redis.dbsize() == 0


@pytest.mark.parametrize(
    ("jobs", "says"),
    [
        ({"name": "a"}, "add_bulk takes a list of jobs, not a dict of 1; add"),
        ([{"name": "a"}, "b"], r"jobs\[1\]: a job is a dict of name, data and opts, not str"),
    ],
)
def test_what_is_no_list_of_jobs_is_refused_by_a_queue(redis, jobs, says):
    with pytest.raises(fn.FlowError, match=says):
        fn.Queue("q").add_bulk(jobs)
    assert redis.dbsize() == 0


def test_data_that_hold_themselves_are_refused_in_a_line(redis):
    data = {"name": "a"}
    data["me"] = [data]
    with pytest.raises(fn.FlowError, match=r"nested more than .* or in a circle") as refusal:
        fn.add({"name": "a", "queueName": "q", "data": data})
    assert len(str(refusal.value)) < 200
    assert redis.dbsize() == 0


def test_a_nan_deep_inside_the_data_is_named_by_its_place(redis):
    with pytest.raises(fn.FlowError, match=r"root: data\.rows\[1\]\.price: NaN and infinity are not JSON"):
        fn.add({"name": "a", "queueName": "q", "data": {"rows": [{"price": 1.0}, {"price": float("nan")}]}})
    assert redis.dbsize() == 0


@pytest.mark.parametrize("in_paused", [0, 2, 5])
def test_negative_numbers_count_from_the_end_as_in_a_list(in_paused, redis):
    queue = fn.Queue("q")
    names = [str(n) for n in range(5)]
    queue.add_bulk([{"name": name} for name in names])
    for _ in range(in_paused):  # as BullMQ 5 leaves them when it pauses a queue
        redis.lmove("bull:q:wait", "bull:q:paused", "LEFT", "RIGHT")
    names = [job.name for job in queue.get_jobs("waiting")]
    for start in range(-7, 7):
        for end in range(-7, 7):
            first = max(start + 5, 0) if start < 0 else start
            last = end + 5 if end < 0 else end
            found = [job.name for job in queue.get_jobs("waiting", start, end)]
            assert found == names[first : max(last + 1, 0)], (start, end)


@pytest.mark.parametrize("states", [["waiting", "waiting"], ("waiting", "failed", "waiting")])
def test_a_state_that_is_named_twice_is_read_once(states):
    queue = fn.Queue("q")
    queue.add("only")
    assert [job.name for job in queue.get_jobs(states)] == ["only"]
