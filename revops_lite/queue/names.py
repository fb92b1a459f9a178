"""The keys of RQ's data model, taken from RQ's own classes, so that its tools find our jobs, queues and workers."""

from __future__ import annotations

from rq.defaults import RQ_KEY_PREFIX
from rq.executions import WORKER_EXECUTIONS_KEY_TEMPLATE, ExecutionRegistry
from rq.job import Job
from rq.queue import Queue
from rq.registry import FailedJobRegistry, FinishedJobRegistry, StartedJobRegistry
from rq.worker.base import BaseWorker
from rq.worker_registration import WORKERS_BY_QUEUE_KEY

QUEUES: str = Queue.redis_queues_keys  # set of queue keys
WORKERS: str = BaseWorker.redis_workers_keys  # set of worker keys
ISOLATED = "-isolated"  # a queue for suspects: one at a time, alone in its host


def queue(name: str) -> str:
    """List of job ids, oldest first; and the channel on which its name is published when jobs have come."""
    return f"{Queue.redis_queue_namespace_prefix}{name}"


def job(job_id: str) -> str:
    """Hash: the job."""
    return f"{Job.redis_job_namespace_prefix}{job_id}"


def started(queue_name: str) -> str:
    """Sorted set of "job:execution": what is in flight."""
    return StartedJobRegistry.key_template.format(queue_name)


def finished(queue_name: str) -> str:
    """Sorted set of job ids by the time they are forgotten."""
    return FinishedJobRegistry.key_template.format(queue_name)


def failed(queue_name: str) -> str:
    """Sorted set of job ids by the time they are forgotten."""
    return FailedJobRegistry.key_template.format(queue_name)


def execution(job_id: str, execution_id: str) -> str:
    """Hash: one claim of a job."""
    return f"{RQ_KEY_PREFIX}:execution:{job_id}:{execution_id}"


def executions(job_id: str) -> str:
    """Sorted set of a job's execution ids."""
    return ExecutionRegistry.key_template.format(job_id)


def worker(name: str) -> str:
    """Hash: one host."""
    return f"{BaseWorker.redis_worker_namespace_prefix}{name}"


def worker_executions(name: str) -> str:
    """Set of "job:execution" that a host has in flight."""
    return WORKER_EXECUTIONS_KEY_TEMPLATE.format(name)


def workers_of(queue_name: str) -> str:
    """Set of keys of the hosts that serve a queue."""
    return WORKERS_BY_QUEUE_KEY % queue_name


def isolated(queue_name: str) -> str:
    """The name of the queue where suspects of `queue_name` run alone."""
    return queue_name if queue_name.endswith(ISOLATED) else queue_name + ISOLATED
