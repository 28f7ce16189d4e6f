"""S3 as the platform uses it: no listing is remembered, and a store that is gone is waited for, for a bounded time.

Belongs here: how s3fs is asked to behave. Does not belong here: what is stored (see ``storage``). Endpoint and credentials are
s3fs's and botocore's own business: they come from the environment (``AWS_ENDPOINT_URL``, ``AWS_ACCESS_KEY_ID``, …) or a profile.
"""

import asyncio
import logging
import time
from typing import Any

from botocore.exceptions import ClientError, ConnectionError, HTTPClientError, NoCredentialsError
from fsspec.exceptions import FSTimeoutError
from s3fs import S3FileSystem
from s3fs.core import _error_wrapper

from resources.files.storage import StoreUnavailableError

FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 5.0
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 5, 30
GONE = (ConnectionError, HTTPClientError, FSTimeoutError, TimeoutError)

log = logging.getLogger(__name__)


class ObjectStore(S3FileSystem):
    """s3fs for several processes at once, whose every call tries again for ``retry_s`` seconds, waiting longer each time.

    Args:
        retry_s: Longest wait for a store that does not answer, or answers that it is at fault (5xx).
    """

    def __init__(self, *args: Any, retry_s: float, **kwargs: Any) -> None:
        self._retry_s = retry_s
        once = {
            "retries": {"mode": "standard", "total_max_attempts": 1},
            "connect_timeout": CONNECT_TIMEOUT_S,
            "read_timeout": READ_TIMEOUT_S,
        }
        # What others put and remove must be seen at once, so nothing is answered from an earlier listing.
        super().__init__(*args, use_listings_cache=False, config_kwargs=once, **kwargs)

    async def _call_s3(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """One call of the API, tried again here alone: s3fs and botocore, each of which would multiply the other's attempts, try
        once.

        Raises:
            StoreUnavailableError: there was no answer in time, or it lets nobody in.
        """
        await self.set_session()
        call = getattr(await self.get_s3(kwargs.get("Bucket")), method)
        arguments = self._get_s3_method_kwargs(call, *args, **kwargs)
        uri = f"s3://{'/'.join(str(kwargs[name]) for name in ('Bucket', 'Key') if name in kwargs)}"
        begun, wait = time.monotonic(), FIRST_WAIT_S
        while True:
            try:
                return await _error_wrapper(call, kwargs=arguments, retries=1)
            except (NoCredentialsError, PermissionError) as problem:
                raise StoreUnavailableError(
                    f"{uri}: the object store lets nobody in ({problem}). Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
                    "AWS_PROFILE, of somebody who may read, write, list and delete there."
                ) from problem
            except (*GONE, OSError) as problem:
                if isinstance(problem, OSError) and not isinstance(problem, GONE) and not _at_fault(problem):
                    raise
                left = begun + self._retry_s - time.monotonic()
                if left <= 0:
                    raise StoreUnavailableError(
                        f"{uri}: the object store has not answered for {self._retry_s:.0f} s ({type(problem).__name__}). Start "
                        "the object store, or correct AWS_ENDPOINT_URL, and run the command again; CROWD_STORE_RETRY_S sets how long to wait."
                    ) from problem
                log.warning("%s: the object store does not answer, trying for %.0f s more", uri, left)
                await asyncio.sleep(min(wait, left))
                wait = min(2 * wait, LONGEST_WAIT_S)


def _at_fault(problem: OSError) -> bool:
    """Whether the store said that it is at fault itself, or too busy."""
    cause = problem.__cause__
    answer = cause.response.get("ResponseMetadata", {}) if isinstance(cause, ClientError) else {}
    return int(answer.get("HTTPStatusCode", 0)) >= 500
