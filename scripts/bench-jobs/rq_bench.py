"""Measures RQ: rq_bench.py PORT rate JOBS | latency RATE SECONDS. One process enqueues in bulk, two workers of RQ's
default kind work (a process a job). Prints a line of JSON."""

import json
import multiprocessing
import sys
import time

from redis import Redis
from rq import Queue, Worker


def empty(sent=None):
    if sent is not None:
        Redis(port=PORT).rpush("waits", time.time() - sent)
    return True


def work():
    Worker(["bench"], connection=Redis(port=PORT)).work(logging_level="ERROR")


PORT, WHAT, NUMBERS = int(sys.argv[1]), sys.argv[2], [int(number) for number in sys.argv[3:]]

if __name__ == "__main__":
    sys.modules["rq_bench"] = sys.modules["__main__"]
    redis = Redis(port=PORT)
    queue = Queue("bench", connection=redis)
    workers = [multiprocessing.Process(target=work) for _ in range(2)]
    from rq_bench import empty as job

    job.__module__ = "rq_bench"
    for worker in workers:
        worker.start()
    finished = queue.finished_job_registry
    start = time.time()
    if WHAT == "rate":
        (jobs,) = NUMBERS
        for begin in range(0, jobs, 1000):
            ids = range(begin, min(begin + 1000, jobs))
            queue.enqueue_many([Queue.prepare_data(job, job_id=f"k-{id}") for id in ids])
        while finished.get_job_count(cleanup=False) < jobs:
            time.sleep(0.02)
        seconds = time.time() - start
        answer = {"jobs": jobs, "seconds": seconds, "jobs_per_second": jobs / seconds}
    else:
        rate, seconds = NUMBERS
        for number in range(rate * seconds):
            time.sleep(max(0, start + number / rate - time.time()))
            queue.enqueue(job, time.time(), job_id=f"l-{number}")
        while finished.get_job_count(cleanup=False) < rate * seconds:
            time.sleep(0.02)
        waits = sorted(float(wait) * 1000 for wait in redis.lrange("waits", 0, -1))
        at = lambda share: waits[min(len(waits) - 1, int(share * len(waits)))]
        answer = {"jobs_per_second": rate, "p50_ms": at(0.5), "p99_ms": at(0.99), "max_ms": at(1)}
    print(json.dumps(answer), flush=True)
    for worker in workers:
        worker.terminate()
