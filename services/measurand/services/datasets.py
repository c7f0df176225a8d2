"""The dataset service: unpack, call core, pack."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from datetime import timedelta

import grpc.aio
from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask

from measurand.core.dataset_making import NewDataset
from measurand.core.dataset_sealing import Sealing
from measurand.core.dataset_search import parse_parent
from measurand.core.datasets import Datasets
from measurand.core.drafts import Drafts
from measurand.core.limits import Limits
from measurand.core.names import parse_catalog, parse_dataset, parse_revision
from measurand.services.dataset_messages import Packing, RevisionPacking, edit_of, new_dataset_of
from measurand.services.messages import check_fits, span_of
from measurand.services.principal import current
from measurand.services.status import problem_of
from measurand.v1 import common_pb2, datasets_pb2, datasets_pb2_grpc
from measurand.wire.errors import InvalidArgument, MeasurandError

__all__ = ["DatasetService"]


class DatasetService(datasets_pb2_grpc.DatasetServiceServicer):
    """Answers for datasets."""

    def __init__(self, datasets: Datasets, drafts: Drafts, sealing: Sealing, limits: Limits) -> None:
        self._datasets = datasets
        self._drafts = drafts
        self._sealing = sealing
        self._limits = limits

    async def CreateDataset(
        self,
        request: datasets_pb2.CreateDatasetRequest,
        context: grpc.aio.ServicerContext[datasets_pb2.CreateDatasetRequest, datasets_pb2.Dataset],
    ) -> datasets_pb2.Dataset:
        parent = parse_catalog(request.parent, field="parent")
        dataset = await self._datasets.create(current(), parent, new_dataset_of(request))
        return await self._packing(request.document_form).one(dataset)

    async def CommitDataset(
        self,
        request: datasets_pb2.CommitDatasetRequest,
        context: grpc.aio.ServicerContext[datasets_pb2.CommitDatasetRequest, datasets_pb2.Dataset],
    ) -> datasets_pb2.Dataset:
        dataset = await self._drafts.commit(current(), parse_dataset(request.name))
        return await self._packing(request.document_form).one(dataset)

    async def BatchCreateDatasets(
        self,
        request: datasets_pb2.BatchCreateDatasetsRequest,
        context: grpc.aio.ServicerContext[
            datasets_pb2.BatchCreateDatasetsRequest, datasets_pb2.BatchCreateDatasetsResponse
        ],
    ) -> datasets_pb2.BatchCreateDatasetsResponse:
        parent = parse_catalog(request.parent, field="parent")
        unpacked = [_new(each, request.parent) for each in request.requests]
        made = await self._datasets.create_many(
            current(), parent, [new for new in unpacked if isinstance(new, NewDataset)]
        )
        outcomes = iter(made)
        packing = self._packing(request.document_form)
        response = datasets_pb2.BatchCreateDatasetsResponse()
        for new in unpacked:
            outcome = new if isinstance(new, MeasurandError) else next(outcomes)
            if isinstance(outcome, MeasurandError):
                response.results.add(problem=problem_of(outcome))
            else:
                response.results.add(dataset=await packing.one(outcome))
        check_fits(response, self._limits.max_message_bytes)
        return response

    async def GetDataset(
        self,
        request: datasets_pb2.GetDatasetRequest,
        context: grpc.aio.ServicerContext[datasets_pb2.GetDatasetRequest, datasets_pb2.Dataset],
    ) -> datasets_pb2.Dataset:
        packing = self._packing(request.document_form, request.read_mask, request.metadata_paths)
        name = parse_dataset(request.name)
        dataset = await self._datasets.get(
            current(), name, show_deleted=request.show_deleted, selection=packing.selection
        )
        return await packing.one(dataset)

    async def BatchGetDatasets(
        self,
        request: datasets_pb2.BatchGetDatasetsRequest,
        context: grpc.aio.ServicerContext[datasets_pb2.BatchGetDatasetsRequest, datasets_pb2.BatchGetDatasetsResponse],
    ) -> datasets_pb2.BatchGetDatasetsResponse:
        packing = self._packing(request.document_form, request.read_mask, request.metadata_paths)
        batch = await self._datasets.search.get_many(
            current(), parse_parent(request.parent), request.names, packing.dataset, selection=packing.selection
        )
        return datasets_pb2.BatchGetDatasetsResponse(
            datasets=batch.items, missing=batch.missing, left_over=batch.left_over
        )

    async def ListDatasets(
        self,
        request: datasets_pb2.ListDatasetsRequest,
        context: grpc.aio.ServicerContext[datasets_pb2.ListDatasetsRequest, datasets_pb2.ListDatasetsResponse],
    ) -> datasets_pb2.ListDatasetsResponse:
        packing = self._packing(request.document_form, request.read_mask, request.metadata_paths)
        page = await self._datasets.search.find(
            current(),
            parse_parent(request.parent),
            packing.dataset,
            size=request.page_size,
            page_token=request.page_token,
            filter_text=request.filter,
            order_by=request.order_by,
            show_deleted=request.show_deleted,
            selection=packing.selection,
        )
        return datasets_pb2.ListDatasetsResponse(datasets=page.items, next_page_token=page.next_page_token)

    async def CountDatasets(
        self,
        request: datasets_pb2.CountDatasetsRequest,
        context: grpc.aio.ServicerContext[datasets_pb2.CountDatasetsRequest, datasets_pb2.CountDatasetsResponse],
    ) -> datasets_pb2.CountDatasetsResponse:
        count = await self._datasets.search.count(
            current(),
            parse_parent(request.parent),
            filter_text=request.filter,
            show_deleted=request.show_deleted,
            most=request.max_count,
        )
        return datasets_pb2.CountDatasetsResponse(count=count, capped=0 < request.max_count <= count)

    async def UpdateDataset(
        self,
        request: datasets_pb2.UpdateDatasetRequest,
        context: grpc.aio.ServicerContext[datasets_pb2.UpdateDatasetRequest, datasets_pb2.Dataset],
    ) -> datasets_pb2.Dataset:
        dataset = await self._datasets.update(
            current(),
            parse_dataset(request.dataset.name, field="dataset.name"),
            edit_of(request),
            etag=request.dataset.etag,
            request_id=request.request_id,
        )
        return await self._packing(request.document_form).one(dataset)

    async def SealDataset(
        self,
        request: datasets_pb2.SealDatasetRequest,
        context: grpc.aio.ServicerContext[datasets_pb2.SealDatasetRequest, datasets_pb2.Dataset],
    ) -> datasets_pb2.Dataset:
        name = parse_dataset(request.name)
        dataset = await self._sealing.seal(
            current(), name, etag=request.etag, force=request.force, request_id=request.request_id
        )
        return await self._packing(request.document_form).one(dataset)

    async def PublishDataset(
        self,
        request: datasets_pb2.PublishDatasetRequest,
        context: grpc.aio.ServicerContext[datasets_pb2.PublishDatasetRequest, datasets_pb2.PublishDatasetResponse],
    ) -> datasets_pb2.PublishDatasetResponse:
        progress = await self._sealing.publish(current(), parse_dataset(request.name))
        return datasets_pb2.PublishDatasetResponse(
            done=progress.is_done,
            chunks_done=progress.chunks_done,
            chunks_total=progress.chunks_total,
            plain_url=progress.plain_url,
        )

    async def DeleteDataset(
        self,
        request: datasets_pb2.DeleteDatasetRequest,
        context: grpc.aio.ServicerContext[datasets_pb2.DeleteDatasetRequest, datasets_pb2.Dataset],
    ) -> datasets_pb2.Dataset:
        name = parse_dataset(request.name)
        dataset = await self._datasets.delete(current(), name, etag=request.etag, request_id=request.request_id)
        return await self._packing(request.document_form).one(dataset)

    async def UndeleteDataset(
        self,
        request: datasets_pb2.UndeleteDatasetRequest,
        context: grpc.aio.ServicerContext[datasets_pb2.UndeleteDatasetRequest, datasets_pb2.Dataset],
    ) -> datasets_pb2.Dataset:
        dataset = await self._datasets.undelete(current(), parse_dataset(request.name), request_id=request.request_id)
        return await self._packing(request.document_form).one(dataset)

    async def PurgeDataset(
        self,
        request: datasets_pb2.PurgeDatasetRequest,
        context: grpc.aio.ServicerContext[datasets_pb2.PurgeDatasetRequest, Empty],
    ) -> Empty:
        await self._datasets.purge(current(), parse_dataset(request.name), etag=request.etag, force=request.force)
        return Empty()

    async def GetDatasetRevision(
        self,
        request: datasets_pb2.GetDatasetRevisionRequest,
        context: grpc.aio.ServicerContext[datasets_pb2.GetDatasetRevisionRequest, datasets_pb2.DatasetRevision],
    ) -> datasets_pb2.DatasetRevision:
        name, number = parse_revision(request.name)
        revision = await self._datasets.revisions.get(current(), name, number)
        packing = RevisionPacking(request.document_form, most_bytes=self._limits.max_message_bytes)
        message, _ = await packing.revision(revision)
        return message

    async def ListDatasetRevisions(
        self,
        request: datasets_pb2.ListDatasetRevisionsRequest,
        context: grpc.aio.ServicerContext[
            datasets_pb2.ListDatasetRevisionsRequest, datasets_pb2.ListDatasetRevisionsResponse
        ],
    ) -> datasets_pb2.ListDatasetRevisionsResponse:
        packing = RevisionPacking(
            request.document_form, read_mask=request.read_mask, most_bytes=self._limits.max_message_bytes
        )
        page = await self._datasets.revisions.find(
            current(),
            parse_dataset(request.parent, field="parent"),
            packing.revision,
            size=request.page_size,
            page_token=request.page_token,
            with_metadata=packing.with_metadata,
        )
        return datasets_pb2.ListDatasetRevisionsResponse(revisions=page.items, next_page_token=page.next_page_token)

    async def ListTags(
        self,
        request: datasets_pb2.ListTagsRequest,
        context: grpc.aio.ServicerContext[datasets_pb2.ListTagsRequest, datasets_pb2.ListTagsResponse],
    ) -> datasets_pb2.ListTagsResponse:
        page = await self._datasets.search.tags(
            current(),
            parse_parent(request.parent),
            prefix=request.prefix,
            size=request.page_size,
            page_token=request.page_token,
        )
        tags = [datasets_pb2.Tag(tag=tag, dataset_count=count) for tag, count in page.tags]
        return datasets_pb2.ListTagsResponse(tags=tags, next_page_token=page.next_page_token)

    async def WatchDatasets(
        self,
        request: datasets_pb2.WatchDatasetsRequest,
        context: grpc.aio.ServicerContext[datasets_pb2.WatchDatasetsRequest, datasets_pb2.DatasetChange],
    ) -> AsyncIterator[datasets_pb2.DatasetChange]:
        packing = self._packing(request.document_form, request.read_mask, request.metadata_paths)
        changes = self._datasets.watch.follow(
            current(),
            parse_parent(request.parent),
            filter_text=request.filter,
            resume_token=request.resume_token,
            include_existing=request.include_existing,
            selection=packing.selection,
        )
        async with aclosing(changes):
            async for change in changes:
                message, _ = await packing.change(change)
                yield message

    async def PollDatasets(
        self,
        request: datasets_pb2.PollDatasetsRequest,
        context: grpc.aio.ServicerContext[datasets_pb2.PollDatasetsRequest, datasets_pb2.PollDatasetsResponse],
    ) -> datasets_pb2.PollDatasetsResponse:
        packing = self._packing(request.document_form, request.read_mask, request.metadata_paths)
        poll = await self._datasets.watch.poll(
            current(),
            parse_parent(request.parent),
            packing.change,
            filter_text=request.filter,
            resume_token=request.resume_token,
            most=request.max_changes,
            wait=span_of(request, "wait", "wait") or timedelta(),
            selection=packing.selection,
        )
        return datasets_pb2.PollDatasetsResponse(changes=poll.changes, resume_token=poll.token)

    def _packing(
        self, form: common_pb2.DocumentForm.ValueType, read_mask: FieldMask | None = None, paths: Sequence[str] = ()
    ) -> Packing:
        return Packing(form, read_mask=read_mask, metadata_paths=paths, most_bytes=self._limits.max_message_bytes)


def _new(request: datasets_pb2.CreateDatasetRequest, parent: str) -> NewDataset | MeasurandError:
    """Return one dataset of a batch, or what is wrong with it alone."""
    if request.parent not in ("", parent):
        raise InvalidArgument(
            f"requests.parent: {request.parent!r} differs from {parent!r}; a batch has one parent",
            field="requests.parent",
        )
    if request.draft:
        return InvalidArgument("requests.draft: a batch makes no drafts; create each by itself", field="requests.draft")
    try:
        return new_dataset_of(request)
    except MeasurandError as error:
        return error
