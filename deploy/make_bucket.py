"""Makes the bucket that CROWD_FILES names, with versions of its objects kept; a bucket that is there stays as it is.

Belongs here: what an S3 server must hold before the platform first starts. Does not belong here: what lies in the bucket.
"""

import os
import sys
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import get_session


def make_bucket(uri: str) -> str:
    """The bucket of ``s3://bucket/prefix``, which is there and keeps versions afterwards.

    Address and keys come from the variables of AWS clients (``AWS_ENDPOINT_URL``, ``AWS_ACCESS_KEY_ID``, …).

    Raises:
        ValueError: ``uri`` names no bucket.
        ClientError, BotoCoreError: the server refuses, or does not answer.
    """
    parts = urlsplit(uri)
    if parts.scheme != "s3" or not parts.netloc:
        raise ValueError(f"CROWD_FILES={uri!r} names no bucket: write s3://bucket/prefix")
    client = get_session().create_client("s3")
    try:
        client.head_bucket(Bucket=parts.netloc)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("404", "NoSuchBucket"):
            raise
        client.create_bucket(Bucket=parts.netloc)
    client.put_bucket_versioning(Bucket=parts.netloc, VersioningConfiguration={"Status": "Enabled"})
    return parts.netloc


if __name__ == "__main__":
    try:
        print(f"bucket {make_bucket(os.environ.get('CROWD_FILES', ''))}: there, with versions")
    except (ValueError, BotoCoreError, ClientError) as problem:
        sys.exit(str(problem))
