"""Shows that a service's limits are kept by all workers together, and that being told to wait costs a row nothing."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import flownb as fn

pytestmark = pytest.mark.usefixtures("connection")


def starts(redis, queue):
    """Return when jobs of a queue were started, every attempt of them, in the server's seconds."""
    events = redis.xrange(f"bull:{queue}:events")
    return [int(id.split(b"-")[0]) / 1000 for id, event in events if event[b"event"] == b"active"]


@pytest.fixture
def shaky():
    """Make a task of which every fourth row needs a second attempt."""
    seen = set()

    @fn.task(attempts=2)
    def shaky(n):
        if n % 4 == 0 and n not in seen:
            seen.add(n)
            raise ConnectionError("try again")
        return n

    return shaky


@pytest.mark.parametrize("given", ["with the call", "on the task"])
def test_a_limiter_binds_all_workers_of_the_rows_retries_included(redis, shaky, given):
    if given == "on the task":
        shaky = fn.task(attempts=2, limiter="5/s")(shaky.function)
    options = {"limiter": "5/s"} if given == "with the call" else {}
    with (
        fn.workers(concurrency=8),
        fn.Worker("shaky", lambda job: shaky(**job.data), concurrency=8, limiter="5/s"),
    ):
        batch = fn.fan_out(range(9), shaky, **options)
        assert batch.results(timeout=60)["shaky"].tolist() == list(range(9))
    began = starts(redis, "shaky")
    assert len(began) == 9 + 3
    assert began[5] - began[0] >= 0.99
    assert began[10] - began[5] >= 0.99


def test_a_limiter_of_a_call_stays_until_another_is_given(redis, shaky):
    fn.fan_out([1], shaky, limiter="7/min")
    assert redis.hmget("bull:shaky:meta", "max", "duration") == [b"7", b"60000"]
    fn.fan_out([2], shaky)
    assert redis.hget("bull:shaky:meta", "max") == b"7"
    fn.fan_out([3], shaky, limiter=None).wait(timeout=20)
    assert redis.hmget("bull:shaky:meta", "max", "duration") == [None, None]
    with pytest.raises(fn.OptionError, match="limiter: 'often' is no rate"):
        fn.fan_out([4], shaky, limiter="often")


def test_rows_of_an_iterator_are_limited_from_the_first_on(redis, shaky):
    def rows():
        assert redis.hmget("bull:shaky:meta", "max", "duration") == [b"50", b"1000"]
        yield from range(5)

    batch = fn.fan_out(rows(), shaky, name="b", limiter="50/s")
    assert batch.results(timeout=20)["shaky"].tolist() == list(range(5))


def test_a_limit_counts_rows_also_where_they_would_share_jobs():
    @fn.task
    def quick(n):
        return n

    def jobs():
        return fn.Queue("quick").get_job_counts()["completed"]

    fn.fan_out(range(300), quick, name="a", limiter="10000/s").wait(timeout=60)
    assert jobs() == 300
    fn.fan_out(range(300), quick, name="b").wait(timeout=60)  # the queue's limit still holds
    assert jobs() == 600
    with pytest.raises(fn.OptionError, match="queue 'quick' has a limiter, and that counts jobs"):
        fn.fan_out(range(300), quick, name="c", rows_per_job=50)
    fn.fan_out(range(300), quick, name="c", limiter=None).wait(timeout=60)
    fn.fan_out(range(300), quick, name="d").wait(timeout=60)
    assert jobs() < 1200


class Service(ThreadingHTTPServer):
    """Answers so many requests, then 429 for a second, then so many again."""

    daemon_threads = True

    def __init__(self, most):
        super().__init__(("127.0.0.1", 0), Answer)
        self.most, self.given, self.refused, self.open_at = most, 0, [], 0.0
        self.counting = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def may_answer(self):
        with self.counting:
            now = time.monotonic()
            if now >= self.open_at:
                if self.open_at:
                    self.open_at, self.given = 0.0, 0
                self.given += 1
                if self.given <= self.most:
                    return True
                self.open_at = now + 1
            self.refused.append(now)
            return False


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(0.05)  # as a service would take; the least is what matters
        if self.server.may_answer():
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.path[1:].encode())
        else:
            self.send_response(429)
            self.send_header("Retry-After", "1")
            self.end_headers()

    def log_message(self, *_):
        """Print nothing."""


@pytest.fixture
def service():
    server = Service(most=8)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_429_with_its_retry_after_holds_all_workers_and_charges_no_attempt(service):
    def ask(n):
        try:
            with urllib.request.urlopen(f"{service.url}/{n}", timeout=30) as answer:
                return int(answer.read())
        except urllib.error.HTTPError as error:
            if error.code == 429:
                raise fn.RateLimitError(float(error.headers["Retry-After"])) from None
            raise

    asking = fn.task(ask)  # one attempt
    with fn.workers(concurrency=2), fn.Worker("ask", lambda job: ask(**job.data), concurrency=2):
        table = fn.fan_out(range(20), asking).wait(timeout=100).table()
    assert table["ask"].tolist() == list(range(20))
    assert set(table["_attempts"]) == {1}
    # Two waits for 20 answers, 8 at a time: at each only those hear a 429 that a worker held already,
    # one in each of the 4 slots and at most one more for it.
    assert 2 <= len(service.refused) <= 2 * 8


def test_a_batch_whose_every_call_was_limited_for_ten_minutes_pauses_and_says_so(redis, until):
    answers = threading.Event()

    @fn.task(queue="provider")
    def ask(n):
        if not answers.is_set():
            raise fn.RateLimitError("0.05")
        return n

    now = int(
        time.time() * 1000
    )  # since eleven minutes every call is limited, and the last hold has just ended
    redis.hset("bull:provider:meta", "limited", f"{now - 11 * 60_000} {now - 1000} {now} 1")
    batch = fn.fan_out(range(3), ask, name="nov")
    until(lambda: redis.sismember("bull:flownb:paused", redis.hget("bull:flownb:names", "nov")))
    said = "the flow is paused: every call of queue 'provider' was limited for 10 minutes"
    reasons = batch.explain()
    assert said in reasons["why"].tolist()
    assert "see whether the service's quota is used up, then resume()" in reasons["fix"].tolist()
    assert said in fn.flows().loc[0, "why"]
    answers.set()
    batch.resume()
    assert batch.results(timeout=30)["ask"].tolist() == [0, 1, 2]
    assert redis.hget("bull:provider:meta", "limited") is None
