"""Rows that call a service, with joblib's threads, its cache on disk, and tenacity."""

import os

from joblib import Memory, Parallel, delayed
from tenacity import retry, stop_after_delay

from tests.support.service_calls import ask as call


def seconds_to_wait(state):
    return float(getattr(state.outcome.exception(), "retry_after", None) or 0)


@Memory("answers", verbose=0).cache
@retry(wait=seconds_to_wait, stop=stop_after_delay(60))
def ask(key):
    return call(os.environ["SERVICE"], key, text=key)["text"]


def answers(keys):
    return Parallel(n_jobs=32, prefer="threads")(delayed(ask)(key) for key in keys)
