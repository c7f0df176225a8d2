"""The Python client of measurand: `Client`, and `AsyncClient` with the same names, awaited."""

from measurand.client import errors
from measurand.client._async.arrays import AsyncArray
from measurand.client._async.batches import AsyncBatch
from measurand.client._async.buffers import AsyncBuffer
from measurand.client._async.catalogs import AsyncCatalog
from measurand.client._async.client import AsyncClient
from measurand.client._async.datasets import AsyncDataset
from measurand.client._async.found import AsyncFound
from measurand.client._async.leases import AsyncLease
from measurand.client._async.objects import AsyncObjects
from measurand.client._async.operations import AsyncOperation
from measurand.client._async.registry import AsyncRegistry
from measurand.client._async.watching import AsyncChange
from measurand.client._sync.arrays import Array
from measurand.client._sync.batches import Batch
from measurand.client._sync.buffers import Buffer
from measurand.client._sync.catalogs import Catalog
from measurand.client._sync.client import Client
from measurand.client._sync.datasets import Dataset
from measurand.client._sync.found import Found
from measurand.client._sync.leases import Lease
from measurand.client._sync.objects import Objects
from measurand.client._sync.operations import Operation
from measurand.client._sync.registry import Registry
from measurand.client._sync.watching import Change
from measurand.client._version import __version__
from measurand.client.background import Background
from measurand.client.buffer_facts import BufferEvent, Freeze, Stats
from measurand.client.data_files import DataFile
from measurand.client.operation_facts import OperationProgress
from measurand.client.records import Part, Record
from measurand.client.registrations import Registration, RegistrationChange
from measurand.client.results import DownloadResult, File, FileLocation, NewDataset, Revision, UploadResult
from measurand.client.storage import Storage
from measurand.wire.documents import SmallArray, Timestamp

__all__ = [
    "Array",
    "AsyncArray",
    "AsyncBatch",
    "AsyncBuffer",
    "AsyncCatalog",
    "AsyncChange",
    "AsyncClient",
    "AsyncDataset",
    "AsyncFound",
    "AsyncLease",
    "AsyncObjects",
    "AsyncOperation",
    "AsyncRegistry",
    "Background",
    "Batch",
    "Buffer",
    "BufferEvent",
    "Catalog",
    "Change",
    "Client",
    "DataFile",
    "Dataset",
    "DownloadResult",
    "File",
    "FileLocation",
    "Found",
    "Freeze",
    "Lease",
    "NewDataset",
    "Objects",
    "Operation",
    "OperationProgress",
    "Part",
    "Record",
    "Registration",
    "RegistrationChange",
    "Registry",
    "Revision",
    "SmallArray",
    "Stats",
    "Storage",
    "Timestamp",
    "UploadResult",
    "__version__",
    "errors",
]
