"""`Job`: sub-tasks and their combination as one class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from plait._client import default_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from plait._client import Client

D = TypeVar("D")
P = TypeVar("P")
R = TypeVar("R")


class Job(Generic[D, P, R]):
    """A job to be subclassed: `split`, `perform_sub_task`, and `combine_results` or `merge`.

    The instance travels to the workers with its attributes, so keep it small and picklable. Without `combine_results`
    and `merge` the result is the list of all results.

    Example:
        >>> import plait
        >>> class Squares(plait.Job):
        ...     def perform_sub_task(self, n):
        ...         return n * n
        ...     def merge(self, a, b):
        ...         return a + b
        >>> Squares().run(range(10))
        285
    """

    def split(self, data: D) -> Iterable[P]:
        """Cut the data into pieces, lazily; here, in the caller's thread. By default the data is the pieces."""
        return cast("Iterable[P]", data)

    def perform_sub_task(self, piece: P) -> Any:
        """Do the work for one piece, on a worker."""
        raise NotImplementedError(f"{type(self).__name__} does not define perform_sub_task(self, piece)")

    #: `combine_results(self, results)`: all results in order, once, on a worker.
    combine_results: Callable[..., R]
    #: `merge(self, a, b)`: two neighbouring results, on the workers, as they come.
    merge: Callable[..., R]

    def run(self, data: D, client: Client | None = None) -> R:
        """Do the whole job and return its final result.

        Args:
            data: What `split` cuts into pieces.
            client: Where it runs; the default client if not given.

        Raises:
            TypeError: When the class defines no `perform_sub_task`.
            ValueError: When it defines both `combine_results` and `merge`.
        """
        if type(self).perform_sub_task is Job.perform_sub_task:
            raise TypeError(f"{type(self).__name__} does not define perform_sub_task(self, piece)")
        combine = getattr(self, "combine_results", None)
        merge = getattr(self, "merge", None)
        if combine is not None and merge is not None:
            raise ValueError(f"{type(self).__name__} defines combine_results and merge: keep one of them")
        client = client if client is not None else default_client()
        return cast("R", client.run(self.perform_sub_task, self.split(data), combine=combine, reduce=merge))
