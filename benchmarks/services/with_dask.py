"""Rows that call a service, with dask's threads and tenacity."""

import os

from dask.distributed import Client
from tenacity import retry, stop_after_delay

from tests.support.service_calls import ask as call


def seconds_to_wait(state):
    return float(getattr(state.outcome.exception(), "retry_after", None) or 0)


@retry(wait=seconds_to_wait, stop=stop_after_delay(60))
def ask(key):
    return call(os.environ["SERVICE"], key, text=key)["text"]


def answers(keys):
    with Client(processes=False, threads_per_worker=32, dashboard_address=None) as client:
        return client.gather(client.map(ask, keys, pure=False))
