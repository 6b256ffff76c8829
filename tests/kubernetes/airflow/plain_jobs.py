"""Indexed Jobs came with Kubernetes 1.21: on an older cluster the tests of several nodes make one plain Job for each node instead."""

from __future__ import annotations

import copy
import time
from typing import Any

from kubernetes import client

from perennial_airflow.operators.job_stage import JobStage
from perennial_airflow.stage_job import INDEX

FIRST_WITH_INDEXED_JOBS = (1, 24)  # not to be switched on there


def plain_jobs(job: dict[str, Any]) -> list[dict[str, Any]]:
    """One Job for each node: each pod is told by its template what an Indexed Job would tell it."""
    made = []
    for index in range(job["spec"]["completions"]):
        plain, name = copy.deepcopy(job), job["metadata"]["name"]
        plain["metadata"]["name"] = f"{name}-{index}" if index else name
        del plain["spec"]["completionMode"]
        plain["spec"] |= {"completions": 1, "parallelism": 1}
        template = plain["spec"]["template"]
        template["metadata"]["annotations"][INDEX] = str(index)
        template["spec"]["hostname"] = f"{name}-{index}"
        made.append(plain)
    return made


class PlainJobStage(JobStage):
    """A JobStage that any cluster can run: the further Jobs belong to the first, and so they go when it goes."""

    def _create(self, job: dict[str, Any]) -> dict[str, Any] | None:
        code = client.VersionApi(self.hook.api_client).get_code()
        if (int(code.major), int(code.minor.rstrip("+"))) >= FIRST_WITH_INDEXED_JOBS:
            return super()._create(job)
        first, *others = plain_jobs(job)
        made = super()._create(first)
        if made:
            owner = {"apiVersion": "batch/v1", "kind": "Job", "name": first["metadata"]["name"], "uid": made["metadata"]["uid"]}
            for other in others:
                other["metadata"]["ownerReferences"] = [owner | {"blockOwnerDeletion": True}]
                while not super()._create(other):  # one of an earlier try is going
                    time.sleep(0.5)
        return made
