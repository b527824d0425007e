"""One thread that samples. Who comes first is served first, so nobody's pictures depend on who else is there."""

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from threading import Event, Lock
from typing import Any

SECONDS_BETWEEN_NEWS = 0.4

Report = Callable[[Any], None]
"""Called by the work with news of itself, as often as it likes: the newest is kept."""


class StoppedError(Exception):
    """The work was stopped by the one who asked for it."""


class Job:
    """Work that waits for its turn, or is done."""

    def __init__(self) -> None:
        self._stop = Event()
        self._news: Any = None
        self.future: Future[Any] = Future()

    def report(self, news: Any) -> None:
        """Raises StoppedError as soon as `stop` was called."""
        if self._stop.is_set():
            raise StoppedError
        self._news = news

    def stop(self) -> None:
        self._stop.set()
        self.future.cancel()  # if it still waits

    def take_news(self) -> Any:
        """The newest since the last call, or None."""
        news, self._news = self._news, None
        return news


class Worker:
    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sampling")
        self._jobs: list[Job] = []
        self._lock = Lock()

    def start(self, work: Callable[[Report], Any]) -> Job:
        """Runs `work` after all that was started before."""
        job = Job()
        with self._lock:
            self._jobs.append(job)
            job.future = self._thread.submit(work, job.report)
        job.future.add_done_callback(lambda _: self._forget(job))
        return job

    def before(self, job: Job) -> int:
        """How many jobs are ahead of `job`."""
        with self._lock:
            return self._jobs.index(job) if job in self._jobs else 0

    def follow(self, job: Job) -> Iterator[tuple[int, Any]]:
        """Pairs of `before` and the newest news, where there is something new; ends when the job is done.

        Raises:
            StoppedError: if it was stopped. What the work raises is raised too.
        """
        ahead = -1
        try:
            while not wait([job.future], timeout=SECONDS_BETWEEN_NEWS).done:
                news, now = job.take_news(), self.before(job)
                if news is not None or now != ahead:
                    ahead = now
                    yield now, news
            job.future.result()
        except CancelledError:
            raise StoppedError from None
        finally:
            job.stop()  # whoever followed it has gone, if it is not done

    def stop(self) -> None:
        """Stops every job, and takes no more."""
        with self._lock:
            jobs = list(self._jobs)
        for job in jobs:
            job.stop()
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _forget(self, job: Job) -> None:
        with self._lock:
            self._jobs.remove(job)
