"""Every call that the client makes: its path, its messages, and its row in the table of deadlines and retries.

The rows are those of section 3 of the protocol. gRPC itself is not imported here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from measurand.v1 import arrays_pb2 as arrays
from measurand.v1 import buffers_pb2 as buffers
from measurand.v1 import catalogs_pb2 as catalogs
from measurand.v1 import containers_pb2 as containers
from measurand.v1 import datasets_pb2 as datasets
from measurand.v1 import files_pb2 as files
from measurand.v1 import operations_pb2 as operations
from measurand.v1 import registry_pb2 as registry
from measurand.v1 import server_pb2 as server
from measurand.wire.codec import Bulk

__all__ = ["Class", "Method"]

Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)
Request = TypeVar("Request")
Response = TypeVar("Response")


class Class(Enum):
    """How long a call may take, and what is tried again."""

    READ = "read"
    CHANGE = "change"
    """Safe to repeat: by its request id, its etag, or by itself."""
    STREAM = "stream"
    """Reopened, from where it was, by whoever reads or writes it."""


@dataclass(frozen=True, slots=True)
class Method(Generic[Request, Response]):
    """One rpc.

    Parameters
    ----------
    path : str
        `/package.Service/Method`.
    request, response : type
        The messages; where one carries bulk bytes it is the head of the codec's `Bulk`.
    kind : Class
        Its row in the table.
    """

    path: str
    request: type[Message]
    response: type[Message]
    kind: Class


def _plain(name: str, request: type[Q], response: type[R], kind: Class = Class.READ) -> Method[Q, R]:
    return Method(f"/measurand.v1.{name}", request, response, kind)


def _bulk_up(name: str, request: type[Q], response: type[R], kind: Class = Class.CHANGE) -> Method[Bulk[Q], R]:
    return Method(f"/measurand.v1.{name}", request, response, kind)


def _bulk_down(name: str, request: type[Q], response: type[R], kind: Class = Class.STREAM) -> Method[Q, Bulk[R]]:
    return Method(f"/measurand.v1.{name}", request, response, kind)


_CHANGE, _STREAM = Class.CHANGE, Class.STREAM
_SERVER, _CATALOGS, _DATASETS, _FILES = "ServerService", "CatalogService", "DatasetService", "FileService"
_ARRAYS, _BUFFERS = "ArrayService", "BufferService"
_OPERATIONS = "OperationService"
_REGISTRY = "RegistryService"
_CONTAINERS = "ContainerService"

GET_CAPABILITIES = _plain(f"{_SERVER}/GetCapabilities", server.GetCapabilitiesRequest, server.Capabilities)
KEEP_OPEN = _plain(f"{_SERVER}/KeepOpen", server.KeepOpenRequest, server.KeepOpenResponse, _STREAM)

CREATE_CATALOG = _plain(f"{_CATALOGS}/CreateCatalog", catalogs.CreateCatalogRequest, catalogs.Catalog, _CHANGE)
GET_CATALOG = _plain(f"{_CATALOGS}/GetCatalog", catalogs.GetCatalogRequest, catalogs.Catalog)
LIST_CATALOGS = _plain(f"{_CATALOGS}/ListCatalogs", catalogs.ListCatalogsRequest, catalogs.ListCatalogsResponse)
UPDATE_CATALOG = _plain(f"{_CATALOGS}/UpdateCatalog", catalogs.UpdateCatalogRequest, catalogs.Catalog, _CHANGE)
DELETE_CATALOG = _plain(f"{_CATALOGS}/DeleteCatalog", catalogs.DeleteCatalogRequest, catalogs.Catalog, _CHANGE)
UNDELETE_CATALOG = _plain(f"{_CATALOGS}/UndeleteCatalog", catalogs.UndeleteCatalogRequest, catalogs.Catalog, _CHANGE)

CREATE_DATASET = _plain(f"{_DATASETS}/CreateDataset", datasets.CreateDatasetRequest, datasets.Dataset, _CHANGE)
COMMIT_DATASET = _plain(f"{_DATASETS}/CommitDataset", datasets.CommitDatasetRequest, datasets.Dataset, _CHANGE)
BATCH_CREATE_DATASETS = _plain(
    f"{_DATASETS}/BatchCreateDatasets",
    datasets.BatchCreateDatasetsRequest,
    datasets.BatchCreateDatasetsResponse,
    _CHANGE,
)
GET_DATASET = _plain(f"{_DATASETS}/GetDataset", datasets.GetDatasetRequest, datasets.Dataset)
BATCH_GET_DATASETS = _plain(
    f"{_DATASETS}/BatchGetDatasets", datasets.BatchGetDatasetsRequest, datasets.BatchGetDatasetsResponse
)
LIST_DATASETS = _plain(f"{_DATASETS}/ListDatasets", datasets.ListDatasetsRequest, datasets.ListDatasetsResponse)
COUNT_DATASETS = _plain(f"{_DATASETS}/CountDatasets", datasets.CountDatasetsRequest, datasets.CountDatasetsResponse)
UPDATE_DATASET = _plain(f"{_DATASETS}/UpdateDataset", datasets.UpdateDatasetRequest, datasets.Dataset, _CHANGE)
SEAL_DATASET = _plain(f"{_DATASETS}/SealDataset", datasets.SealDatasetRequest, datasets.Dataset, _CHANGE)
PUBLISH_DATASET = _plain(
    f"{_DATASETS}/PublishDataset", datasets.PublishDatasetRequest, datasets.PublishDatasetResponse, _CHANGE
)
DELETE_DATASET = _plain(f"{_DATASETS}/DeleteDataset", datasets.DeleteDatasetRequest, datasets.Dataset, _CHANGE)
UNDELETE_DATASET = _plain(f"{_DATASETS}/UndeleteDataset", datasets.UndeleteDatasetRequest, datasets.Dataset, _CHANGE)
PURGE_DATASET = _plain(f"{_DATASETS}/PurgeDataset", datasets.PurgeDatasetRequest, Empty, _CHANGE)
GET_DATASET_REVISION = _plain(
    f"{_DATASETS}/GetDatasetRevision", datasets.GetDatasetRevisionRequest, datasets.DatasetRevision
)
LIST_DATASET_REVISIONS = _plain(
    f"{_DATASETS}/ListDatasetRevisions", datasets.ListDatasetRevisionsRequest, datasets.ListDatasetRevisionsResponse
)
LIST_TAGS = _plain(f"{_DATASETS}/ListTags", datasets.ListTagsRequest, datasets.ListTagsResponse)
WATCH_DATASETS = _plain(f"{_DATASETS}/WatchDatasets", datasets.WatchDatasetsRequest, datasets.DatasetChange, _STREAM)
POLL_DATASETS = _plain(f"{_DATASETS}/PollDatasets", datasets.PollDatasetsRequest, datasets.PollDatasetsResponse)

PUT_FILE = _bulk_up(f"{_FILES}/PutFile", files.PutFileRequest, files.File)
PUT_FILES = _bulk_up(f"{_FILES}/PutFiles", files.PutFilesRequest, files.PutFilesResponse, _STREAM)
CREATE_UPLOAD = _plain(f"{_FILES}/CreateUpload", files.CreateUploadRequest, files.Upload, _CHANGE)
GET_UPLOAD = _plain(f"{_FILES}/GetUpload", files.GetUploadRequest, files.Upload)
LIST_UPLOADS = _plain(f"{_FILES}/ListUploads", files.ListUploadsRequest, files.ListUploadsResponse)
WRITE_UPLOAD = _bulk_up(f"{_FILES}/WriteUpload", files.WriteUploadRequest, files.WriteUploadResponse, _STREAM)
COMMIT_UPLOAD = _plain(f"{_FILES}/CommitUpload", files.CommitUploadRequest, files.File, _CHANGE)
ABORT_UPLOAD = _plain(f"{_FILES}/AbortUpload", files.AbortUploadRequest, Empty, _CHANGE)
LOCATE_FILE = _plain(f"{_FILES}/LocateFile", files.LocateFileRequest, files.FileLocation)
GET_FILE = _plain(f"{_FILES}/GetFile", files.GetFileRequest, files.File)
LIST_FILES = _plain(f"{_FILES}/ListFiles", files.ListFilesRequest, files.ListFilesResponse)
COPY_FILE = _plain(f"{_FILES}/CopyFile", files.CopyFileRequest, files.File, _CHANGE)
DELETE_FILE = _plain(f"{_FILES}/DeleteFile", files.DeleteFileRequest, Empty, _CHANGE)
READ_FILE = _bulk_down(f"{_FILES}/ReadFile", files.ReadFileRequest, files.ReadFileResponse)
READ_FILE_CHUNK = _bulk_down(f"{_FILES}/ReadFileChunk", files.ReadFileChunkRequest, files.ReadFileResponse, Class.READ)
READ_FILES = _bulk_down(f"{_FILES}/ReadFiles", files.ReadFilesRequest, files.ReadFilesResponse)

CREATE_ARRAY = _plain(f"{_ARRAYS}/CreateArray", arrays.CreateArrayRequest, arrays.Array, _CHANGE)
COMMIT_ARRAY = _plain(f"{_ARRAYS}/CommitArray", arrays.CommitArrayRequest, arrays.Array, _CHANGE)
GET_ARRAY = _plain(f"{_ARRAYS}/GetArray", arrays.GetArrayRequest, arrays.Array)
LIST_ARRAYS = _plain(f"{_ARRAYS}/ListArrays", arrays.ListArraysRequest, arrays.ListArraysResponse)
UPDATE_ARRAY = _plain(f"{_ARRAYS}/UpdateArray", arrays.UpdateArrayRequest, arrays.Array, _CHANGE)
RESIZE_ARRAY = _plain(f"{_ARRAYS}/ResizeArray", arrays.ResizeArrayRequest, arrays.Array, _CHANGE)
DELETE_ARRAY = _plain(f"{_ARRAYS}/DeleteArray", arrays.DeleteArrayRequest, Empty, _CHANGE)
WRITE_ARRAY_CHUNKS = _bulk_up(
    f"{_ARRAYS}/WriteArrayChunks", arrays.WriteArrayChunksRequest, arrays.WriteArrayChunksResponse, _STREAM
)
WRITE_ARRAY_CHUNK = _bulk_up(
    f"{_ARRAYS}/WriteArrayChunk", arrays.WriteArrayChunkRequest, arrays.WriteArrayChunkResponse
)
READ_ARRAY_CHUNKS = _bulk_down(
    f"{_ARRAYS}/ReadArrayChunks", arrays.ReadArrayChunksRequest, arrays.ReadArrayChunksResponse
)
READ_ARRAY_CHUNK = _bulk_down(
    f"{_ARRAYS}/ReadArrayChunk", arrays.ReadArrayChunkRequest, arrays.ReadArrayChunksResponse, Class.READ
)
LIST_ARRAY_CHUNKS = _plain(f"{_ARRAYS}/ListArrayChunks", arrays.ListArrayChunksRequest, arrays.ListArrayChunksResponse)
WATCH_ARRAY = _plain(f"{_ARRAYS}/WatchArray", arrays.WatchArrayRequest, arrays.ArrayChange, _STREAM)
POLL_ARRAY = _plain(f"{_ARRAYS}/PollArray", arrays.PollArrayRequest, arrays.ArrayChange)

CREATE_BUFFER = _plain(f"{_BUFFERS}/CreateBuffer", buffers.CreateBufferRequest, buffers.Buffer, _CHANGE)
GET_BUFFER = _plain(f"{_BUFFERS}/GetBuffer", buffers.GetBufferRequest, buffers.Buffer)
LIST_BUFFERS = _plain(f"{_BUFFERS}/ListBuffers", buffers.ListBuffersRequest, buffers.ListBuffersResponse)
UPDATE_BUFFER = _plain(f"{_BUFFERS}/UpdateBuffer", buffers.UpdateBufferRequest, buffers.Buffer, _CHANGE)
DELETE_BUFFER = _plain(f"{_BUFFERS}/DeleteBuffer", buffers.DeleteBufferRequest, Empty, _CHANGE)
APPEND_RECORDS = _bulk_up(
    f"{_BUFFERS}/AppendRecords", buffers.AppendRecordsRequest, buffers.AppendRecordsResponse, _STREAM
)
APPEND = _plain(f"{_BUFFERS}/Append", buffers.AppendRequest, buffers.AppendResponse, _CHANGE)
TAIL_BUFFER = _bulk_down(f"{_BUFFERS}/TailBuffer", buffers.TailBufferRequest, buffers.TailBufferResponse)
READ_RECORDS = _plain(f"{_BUFFERS}/ReadRecords", buffers.ReadRecordsRequest, buffers.ReadRecordsResponse)
FREEZE_BUFFER = _plain(f"{_BUFFERS}/FreezeBuffer", buffers.FreezeBufferRequest, buffers.FreezeBufferResponse, _CHANGE)
UNFREEZE_BUFFER = _plain(
    f"{_BUFFERS}/UnfreezeBuffer", buffers.UnfreezeBufferRequest, buffers.UnfreezeBufferResponse, _CHANGE
)
ROTATE_BUFFER = _plain(f"{_BUFFERS}/RotateBuffer", buffers.RotateBufferRequest, buffers.UnfreezeBufferResponse, _CHANGE)
FINISH_BUFFER = _plain(f"{_BUFFERS}/FinishBuffer", buffers.FinishBufferRequest, buffers.Buffer, _CHANGE)
LIST_BATCHES = _plain(f"{_BUFFERS}/ListBatches", buffers.ListBatchesRequest, buffers.ListBatchesResponse)
ADD_BUFFER_NOTE = _plain(f"{_BUFFERS}/AddBufferNote", buffers.AddBufferNoteRequest, buffers.BufferEvent, _CHANGE)
LIST_BUFFER_EVENTS = _plain(
    f"{_BUFFERS}/ListBufferEvents", buffers.ListBufferEventsRequest, buffers.ListBufferEventsResponse
)
TAIL_BUFFER_EVENTS = _plain(
    f"{_BUFFERS}/TailBufferEvents", buffers.TailBufferEventsRequest, buffers.BufferEvent, _STREAM
)
PUT_CONSUMER_GROUP = _plain(
    f"{_BUFFERS}/PutConsumerGroup", buffers.PutConsumerGroupRequest, buffers.ConsumerGroup, _CHANGE
)
GET_CONSUMER_GROUP = _plain(f"{_BUFFERS}/GetConsumerGroup", buffers.GetConsumerGroupRequest, buffers.ConsumerGroup)
LIST_CONSUMER_GROUPS = _plain(
    f"{_BUFFERS}/ListConsumerGroups", buffers.ListConsumerGroupsRequest, buffers.ListConsumerGroupsResponse
)
SEEK_CONSUMER_GROUP = _plain(
    f"{_BUFFERS}/SeekConsumerGroup", buffers.SeekConsumerGroupRequest, buffers.ConsumerGroup, _CHANGE
)
LIST_GIVEN_UP_RECORDS = _plain(
    f"{_BUFFERS}/ListGivenUpRecords", buffers.ListGivenUpRecordsRequest, buffers.ListGivenUpRecordsResponse
)
DELETE_CONSUMER_GROUP = _plain(f"{_BUFFERS}/DeleteConsumerGroup", buffers.DeleteConsumerGroupRequest, Empty, _CHANGE)
CONSUME_RECORDS = _bulk_down(
    f"{_BUFFERS}/ConsumeRecords", buffers.ConsumeRecordsRequest, buffers.ConsumeRecordsResponse
)
FETCH_RECORDS = _plain(f"{_BUFFERS}/FetchRecords", buffers.FetchRecordsRequest, buffers.FetchRecordsResponse, _CHANGE)
SETTLE_RECORDS = _plain(
    f"{_BUFFERS}/SettleRecords", buffers.SettleRecordsRequest, buffers.SettleRecordsResponse, _CHANGE
)

GET_OPERATION = _plain(f"{_OPERATIONS}/GetOperation", operations.GetOperationRequest, operations.Operation)
LIST_OPERATIONS = _plain(
    f"{_OPERATIONS}/ListOperations", operations.ListOperationsRequest, operations.ListOperationsResponse
)
WATCH_OPERATION = _plain(
    f"{_OPERATIONS}/WatchOperation", operations.WatchOperationRequest, operations.Operation, _STREAM
)
WAIT_OPERATION = _plain(f"{_OPERATIONS}/WaitOperation", operations.WaitOperationRequest, operations.Operation)
CANCEL_OPERATION = _plain(
    f"{_OPERATIONS}/CancelOperation", operations.CancelOperationRequest, operations.Operation, _CHANGE
)
DELETE_OPERATION = _plain(f"{_OPERATIONS}/DeleteOperation", operations.DeleteOperationRequest, Empty, _CHANGE)

REGISTER = _plain(f"{_REGISTRY}/Register", registry.RegisterRequest, registry.RegisterResponse, _CHANGE)
RENEW_REGISTRATION = _plain(
    f"{_REGISTRY}/RenewRegistration", registry.RenewRegistrationRequest, registry.Registration, _CHANGE
)
RELEASE_REGISTRATION = _plain(f"{_REGISTRY}/ReleaseRegistration", registry.ReleaseRegistrationRequest, Empty, _CHANGE)
GET_REGISTRATION = _plain(f"{_REGISTRY}/GetRegistration", registry.GetRegistrationRequest, registry.Registration)
BATCH_GET_REGISTRATIONS = _plain(
    f"{_REGISTRY}/BatchGetRegistrations",
    registry.BatchGetRegistrationsRequest,
    registry.BatchGetRegistrationsResponse,
)
LIST_REGISTRATIONS = _plain(
    f"{_REGISTRY}/ListRegistrations", registry.ListRegistrationsRequest, registry.ListRegistrationsResponse
)
WATCH_REGISTRATIONS = _plain(
    f"{_REGISTRY}/WatchRegistrations", registry.WatchRegistrationsRequest, registry.RegistrationChange, _STREAM
)
POLL_REGISTRATIONS = _plain(
    f"{_REGISTRY}/PollRegistrations", registry.PollRegistrationsRequest, registry.PollRegistrationsResponse
)

REGISTER_CONTAINER = _plain(
    f"{_CONTAINERS}/RegisterContainer",
    containers.RegisterContainerRequest,
    containers.RegisterContainerResponse,
    _CHANGE,
)
GET_CONTAINER = _plain(f"{_CONTAINERS}/GetContainer", containers.GetContainerRequest, containers.Container)
LIST_CONTAINERS = _plain(
    f"{_CONTAINERS}/ListContainers", containers.ListContainersRequest, containers.ListContainersResponse
)
UPDATE_CONTAINER = _plain(
    f"{_CONTAINERS}/UpdateContainer", containers.UpdateContainerRequest, containers.Container, _CHANGE
)
DRAIN_CONTAINER = _plain(
    f"{_CONTAINERS}/DrainContainer", containers.DrainContainerRequest, operations.Operation, _CHANGE
)
UNDRAIN_CONTAINER = _plain(
    f"{_CONTAINERS}/UndrainContainer", containers.UndrainContainerRequest, containers.Container, _CHANGE
)
REMOVE_CONTAINER = _plain(f"{_CONTAINERS}/RemoveContainer", containers.RemoveContainerRequest, Empty, _CHANGE)
REPAIR_CONTAINERS = _plain(
    f"{_CONTAINERS}/RepairContainers", containers.RepairContainersRequest, operations.Operation, _CHANGE
)
REBALANCE_CONTAINERS = _plain(
    f"{_CONTAINERS}/RebalanceContainers", containers.RebalanceContainersRequest, operations.Operation, _CHANGE
)
RECODE_BLOBS = _plain(f"{_CONTAINERS}/RecodeBlobs", containers.RecodeBlobsRequest, operations.Operation, _CHANGE)
CHECK_CONTAINER = _plain(f"{_CONTAINERS}/CheckContainer", containers.CheckContainerRequest, containers.ProbeReport)
EXPLAIN_PLACEMENT = _plain(
    f"{_CONTAINERS}/ExplainPlacement", containers.ExplainPlacementRequest, containers.ExplainPlacementResponse
)
