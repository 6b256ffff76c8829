"""Creates the bucket of an S3 store if it is missing: `python -m perennial.local.bucket`."""

from __future__ import annotations

import sys

from perennial.errors import EXIT_DONE, EXIT_FAULT
from perennial.settings import Settings
from perennial.store import S3Store, open_store


def main() -> int:
    """Make it; 0 if it is there afterwards."""
    from botocore.exceptions import BotoCoreError, ClientError

    settings = Settings.from_environment()
    store = open_store(settings.store)
    if not isinstance(store, S3Store):
        print(f"PERENNIAL_STORE is {settings.store}: a folder needs no bucket.")
        return EXIT_DONE
    try:
        made = make(store)
    except (BotoCoreError, ClientError) as error:
        print(f"The bucket {store.bucket} cannot be made ({error}): check AWS_ENDPOINT_URL, the keys and their rights.", file=sys.stderr)
        return EXIT_FAULT
    print(f"The bucket {store.bucket} {'was made' if made else 'is there'}.")
    return EXIT_DONE


def make(store: S3Store) -> bool:
    """Make the store's bucket; False if it is there already."""
    if store.bucket in {bucket["Name"] for bucket in store.client.list_buckets()["Buckets"]}:
        return False
    store.client.create_bucket(Bucket=store.bucket)
    return True


if __name__ == "__main__":
    sys.exit(main())
