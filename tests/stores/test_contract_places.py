"""What the ports promise of jobs at the provider and their tasks, held against every database."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sora_ws.store import Store
from tests.stores.tasks import a_task, completed, rendering


@pytest.mark.gen_test
async def test_jobs_that_a_task_has_are_known(store: Store) -> None:
    """Of live tasks and of ended ones, whatever stands in their ids; asking for none gives none."""
    odd = "video_+/=:" + "x" * 500
    live, ended = rendering(a_task()), completed(a_task())
    odd_one = replace(rendering(a_task()), job_id=odd)
    for task in (replace(live, job_id="job-live"), replace(ended, job_id="job-ended"), odd_one, a_task()):
        await store.insert(task)
    assert await store.known_jobs(["job-live", "job-new", odd]) == {"job-live", odd}
    assert await store.known_jobs(["job-ended"]) == {"job-ended"}
    assert await store.known_jobs([]) == frozenset()
