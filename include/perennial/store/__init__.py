"""The store: a folder or an S3 prefix with all durable data.

Whoever reads or writes it opens it by its address and names objects by keys:

    >>> import tempfile
    >>> from perennial.store import open_store
    >>> store = open_store(tempfile.mkdtemp())  # or "s3://bucket/prefix"
    >>> store.write("landing/flights/2013-07-04.csv", b"origin,distance")
    >>> store.put_if_absent("ledger/flight_delay/1.json", b"the first of several writers wins")
    True
    >>> [item.key for item in store.list("landing")]
    ['landing/flights/2013-07-04.csv']
"""

from perennial.store.address import open_store
from perennial.store.changes import Changes
from perennial.store.folder import FolderStore, private_folder, tighten
from perennial.store.interface import FOLDERS, Store, StoredObject
from perennial.store.s3 import S3Store
from perennial.store.unchanged import write_if_other

__all__ = [
    "FOLDERS",
    "Changes",
    "FolderStore",
    "S3Store",
    "Store",
    "StoredObject",
    "open_store",
    "private_folder",
    "tighten",
    "write_if_other",
]
