"""The Dask cluster that training spreads over: the one at TIDELINE_DASK_ADDRESS, otherwise one on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tideline.contracts import TidelineError
from tideline.params import Params

if TYPE_CHECKING:
    import distributed

ADDRESS = "TIDELINE_DASK_ADDRESS"
PATIENCE = 30.0  # seconds for a scheduler to answer, and for its first worker


@contextmanager
def open_cluster(params: Params) -> Iterator[distributed.Client | None]:
    """A client of the cluster; None where `compute` is local.

    Raises TidelineError if `workers` is none, or if nobody answers at the address.
    """
    if params.compute == "local":
        yield None
        return
    if params.workers < 1:
        raise TidelineError(f"params.yaml: workers is {params.workers}; expected 1 or more")
    from distributed import Client, LocalCluster

    address = os.environ.get(ADDRESS)
    if address:
        with _reach(address) as client:
            yield client
        return
    threads = max(1, params.threads // params.workers)
    settings = {"n_workers": params.workers, "threads_per_worker": threads, "dashboard_address": None}
    with LocalCluster(**settings, host="127.0.0.1") as cluster, Client(cluster) as client:
        yield client


@contextmanager
def _reach(address: str) -> Iterator[distributed.Client]:
    from distributed import Client

    try:
        client = Client(address, timeout=PATIENCE)
    except (OSError, ValueError) as error:  # also its time-out
        way_out = f"start one (`dask scheduler`), mend {ADDRESS}, or set compute: local in params.yaml"
        raise TidelineError(f"no Dask scheduler answers at {address}: {error}; {way_out}") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError:
            there = f"the Dask scheduler at {address} has no worker after {PATIENCE:g} s"
            raise TidelineError(f"{there}; start one (`dask worker {address}`)") from None
        yield client
