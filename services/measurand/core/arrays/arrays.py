"""Arrays: made, committed, changed and deleted. One document write decides each of them; chunks are `committing`."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from measurand.core.arrays import listing
from measurand.core.arrays.attributes import ArrayEdit, Attributes, apply_edit, check_edit
from measurand.core.arrays.blocks import Index
from measurand.core.arrays.documents import (
    ARRAYS,
    STAGED,
    Array,
    array_document,
    array_of,
    is_dropped,
    staged_document,
    was_seen,
)
from measurand.core.arrays.expiring import Expiring
from measurand.core.arrays.listing import ArrayPage, WrittenPage
from measurand.core.arrays.making import NewArray, is_same_request, make_array, remember, request_of, staged_uid
from measurand.core.arrays.standing import find_standing, sealed
from measurand.core.files import DatasetGate
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.names import ArrayName, DatasetName
from measurand.core.ports import Document, DocumentStore, Position
from measurand.core.principal import Principal
from measurand.core.ulid import make_ulid
from measurand.wire.errors import AlreadyExists, Conflict, Contention, MeasurandError, NotFound, Sealed

__all__ = ["Arrays"]


class Arrays:
    """The arrays of all datasets. Their shapes are changed by `resizing`, their chunks by `writing`."""

    def __init__(self, documents: DocumentStore, datasets: DatasetGate, means: Means, limits: Limits) -> None:
        self._documents = documents
        self._datasets = datasets
        self._means = means
        self._limits = limits
        self._attributes = Attributes(means, limits)
        self._expiring = Expiring(documents, means, limits)

    async def create(
        self, principal: Principal, parent: DatasetName, draft: NewArray, *, staged: bool = False, request_id: str = ""
    ) -> Array:
        """Make an array without chunks. Durable when it returns; a repeated request gets the first outcome.

        Parameters
        ----------
        staged : bool
            Nobody sees it before `commit`, and its name may be taken.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND: of the dataset.
        AlreadyExists
            RESOURCE_EXISTS: there is an array or a group with this name, or a part of it is an array.
        InvalidArgument
            FIELD_INVALID, NAME_INVALID, DOCUMENT_INVALID, TOO_LARGE, REQUEST_ID_REUSED.
        Sealed
            DATASET_SEALED.
        """
        now = self._means.now()
        await self._datasets.require_open(principal, parent)
        attributes = await self._attributes.read(draft.attributes, field="array.attributes")
        array = make_array(parent, draft, attributes, principal.name, now)
        request = request_of(
            request_id, "create", principal.name, str(array.name), replace(draft, attributes=None), attributes, staged
        )
        if staged:
            uid = staged_uid(parent, request, now, self._means.random_bytes)
            expires = now + self._limits.upload_lifetime
            return await self._stage(replace(array, uid=uid, request=request, expire_time=expires))
        uid = make_ulid(now, self._means.random_bytes).lower()
        return await self._show_new(replace(array, uid=uid, request=request))

    async def commit(
        self, principal: Principal, name: ArrayName, uid: str, *, if_etag: str | None = None, request_id: str = ""
    ) -> Array:
        """Show a staged array, in the place of the one that has its name. Doing it again gives the same array.

        Parameters
        ----------
        if_etag : str, optional
            Only if the array that has the name has this etag; empty: only if there is none. None: no check.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND: of the dataset; or the staged array has expired.
        Conflict
            ETAG_MISMATCH: another array has the name. CONTENTION: others kept changing it.
        AlreadyExists
            RESOURCE_EXISTS: the name is a group, or a part of it is an array.
        Sealed
            DATASET_SEALED.
        """
        request_of(request_id)
        await self._datasets.require_open(principal, name.parent)
        dropped = ""
        for _ in range(self._limits.max_retries):
            staged = await self._documents.fetch(STAGED, uid)
            current = await self._documents.fetch(ARRAYS, str(name))
            there = None if current is None else array_of(current)
            if there is not None and there.uid == uid:
                return there
            if staged is not None and was_seen(staged):  # this very call has shown it before, and it has gone since
                return replace(array_of(staged), expire_time=None)
            if staged is None or is_dropped(staged) or (new := array_of(staged)).name != name:
                raise NotFound(
                    f"{name}: there is no staged array {uid}; it may have expired: write it once more", resource=name
                )
            _check_etag(name, there, if_etag)
            now = self._means.now()
            new = replace(new, expire_time=None, version=new.version + 1, update_time=now)
            if there is None or current is None:
                shown = await self._insert(new)
            else:
                if there.is_sealed:
                    raise sealed(there)
                if there.uid != dropped:
                    await self._expiring.drop(there)
                    dropped = there.uid
                stored = await self._documents.replace(ARRAYS, array_document(new), expected_revision=current.revision)
                shown = None if stored is None else new
            if shown is not None:
                return await self._expiring.settle(shown, instead_of=there)
        raise _contention(name)

    async def get(self, principal: Principal, name: ArrayName) -> Array:
        """Return the array that has a name. Raises NotFound, of the dataset or of the array."""
        return await self.require(principal, name)

    async def require(self, principal: Principal, name: ArrayName, uid: str = "") -> Array:
        """Return an array that can be read.

        Parameters
        ----------
        uid : str
            Of a staged one, or of the one that has the name. Empty: the one that has the name.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND: there is no such array, or no longer.
        Conflict
            ETAG_MISMATCH: the name stands for another array.
        """
        standing = await find_standing(self._documents, name, uid)
        other = await find_standing(self._documents, name) if standing is None and uid else None
        await self._datasets.require(principal, name.parent)
        if standing is not None:
            return standing.array
        if other is not None:
            raise Conflict(
                f"{name} was written anew and is another array now; open it again",
                resource=name,
                etag=other.array.etag,
            )
        raise NotFound(f"{name}: there is no such array; list the arrays of {name.parent}", resource=name)

    async def page(
        self,
        principal: Principal,
        parent: DatasetName,
        *,
        prefix: str = "",
        after: Position | None = None,
        limit: int = 100,
    ) -> ArrayPage:
        """Return one page of the arrays whose own name begins with `prefix`, by name. Raises NotFound."""
        await self._datasets.require(principal, parent)
        return await listing.page(self._documents, parent, prefix, after, limit)

    async def written(self, array: Array, *, after: Index | None = None, limit: int = 10_000) -> WrittenPage:
        """Return one page of the chunks that were written, within the shape, by index in C order."""
        return await listing.written(self._documents, array, after, limit)

    async def stored_bytes(self, array: Array) -> int:
        """Return how many bytes the stored chunks of an array have."""
        return await listing.stored_bytes(self._documents, array)

    async def update(
        self, principal: Principal, name: ArrayName, edit: ArrayEdit, *, etag: str = "", request_id: str = ""
    ) -> Array:
        """Change attributes and names of axes in one step. A repeated request gets the array as it is now.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND: of the dataset or the array.
        Conflict
            ETAG_MISMATCH: the array is not at `etag`. CONTENTION: others were faster too often.
        InvalidArgument
            FIELD_INVALID, DOCUMENT_INVALID, TOO_LARGE, REQUEST_ID_REUSED.
        Sealed
            DATASET_SEALED.
        """
        check_edit(edit)
        sources = await self._attributes.sources(edit)
        request = request_of(request_id, "update", principal.name, str(name), etag, edit.to_text(), *sources)
        await self._datasets.require_open(principal, name.parent)
        for _ in range(self._limits.max_retries):
            current = await self._documents.fetch(ARRAYS, str(name))
            array = _required(name, current)
            if any(is_same_request(made, request) for made in (*array.changes, array.request)):
                return array
            _check_etag(name, array, etag or None)
            if array.is_sealed:
                raise sealed(array)
            new = apply_edit(array, edit, await self._attributes.edited(array.attributes, *sources))
            if new == array:
                return array
            new = remember(replace(new, version=array.version + 1, update_time=self._means.now()), request)
            assert current is not None
            if await self._documents.replace(ARRAYS, array_document(new), expected_revision=current.revision):
                return new
        raise _contention(name)

    async def delete(self, principal: Principal, name: ArrayName, *, etag: str = "", uid: str = "") -> None:
        """Remove an array; its bytes go some time later. Removing what is gone changes nothing.

        Parameters
        ----------
        uid : str
            Of a staged array, which is thrown away; the one that has the name stays.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND: of the dataset.
        Conflict
            ETAG_MISMATCH: the array is not at `etag`. CONTENTION: others kept changing it.
        Sealed
            DATASET_SEALED.
        """
        await self._datasets.require_open(principal, name.parent)
        if uid:
            await self._expiring.throw_away(name, uid)
            return
        dropped = ""
        for _ in range(self._limits.max_retries):
            current = await self._documents.fetch(ARRAYS, str(name))
            if current is None:  # it is gone, perhaps by this very call, whose answer was lost
                return
            array = array_of(current)
            _check_etag(name, array, etag or None)
            if array.is_sealed:
                raise sealed(array)
            if array.uid != dropped:
                await self._expiring.drop(array)
                dropped = array.uid
            if await self._documents.remove(ARRAYS, str(name), expected_revision=current.revision):
                # Sealed meanwhile: the array went before the sealing came to it, and there are no more revisions.
                with suppress(Sealed):
                    await self._datasets.note_change(principal, name.parent, [f"arrays/{name.array}"])
                return
        raise _contention(name)

    async def expire(self) -> int:
        """Remove what is left of arrays whose time is over, and return how many. For a background job."""
        return await self._expiring.run_once()

    async def _stage(self, array: Array) -> Array:
        if (await self._documents.insert_many(STAGED, [staged_document(array)]))[0]:
            return array
        made = await find_standing(self._documents, array.name, array.uid)  # by the same request
        if made is None:
            raise NotFound(f"{array.name}: what this request has made was thrown away; ask anew", resource=array.name)
        is_same_request(made.array.request, array.request)
        return made.array

    async def _show_new(self, array: Array) -> Array:
        for _ in range(self._limits.max_retries):
            current = await self._documents.fetch(ARRAYS, str(array.name))
            if current is not None:
                made = array_of(current)
                if is_same_request(made.request, array.request):
                    return made
                raise AlreadyExists(
                    f"{array.name}: there is such an array; delete it, or write it whole in its place",
                    resource=array.name,
                )
            shown = await self._insert(array)
            if shown is not None:
                return shown
        raise _contention(array.name)

    async def _insert(self, array: Array) -> Array | None:
        """Show an array whose name is free. None: somebody was faster.

        Whether it may be is asked once more when it is there; if it may not, it is taken back.
        """
        await self._check_groups(array.name)
        document = array_document(array)
        if not (await self._documents.insert_many(ARRAYS, [document]))[0]:
            return None
        error: MeasurandError | None = await self._datasets.refusal(array.name.parent)
        if error is None:
            try:
                await self._check_groups(array.name)
            except AlreadyExists as taken:  # one of two that were made at the same time; the other may go as well
                error = _contention(array.name)
                error.__cause__ = taken
        if error is None:
            return array
        there = await self._taken_back(array)
        if there is not None:
            return there
        raise error

    async def _taken_back(self, array: Array) -> Array | None:
        """Remove an array, or return it if the sealing of its dataset has found it: then it was there before."""
        while (current := await self._documents.fetch(ARRAYS, str(array.name))) is not None:
            there = array_of(current)
            if there.uid != array.uid:
                break
            if there.is_sealed:
                return there
            if await self._documents.remove(ARRAYS, current.key, expected_revision=current.revision):
                break
        return None

    async def _check_groups(self, name: ArrayName) -> None:
        """Raise AlreadyExists if the name is a group, or needs one where there is an array."""
        parts = name.array.split("/")
        above = [str(replace(name, array="/".join(parts[:count]))) for count in range(1, len(parts))]
        for taken in await self._documents.fetch_many(ARRAYS, above) if above else ():
            raise AlreadyExists(
                f"{name}: {taken} is an array, so it cannot be a group; choose another name", resource=taken
            )
        below = await self._documents.find(
            ARRAYS, scopes=[str(name.parent)], key_prefix=f"{name}/", limit=1, with_text=False
        )
        if below:
            raise AlreadyExists(
                f"{name} is a group, which holds {below[0].document.key}; choose another name", resource=name
            )


def _required(name: ArrayName, current: Document | None) -> Array:
    if current is None:
        raise NotFound(f"{name}: there is no such array; list the arrays of {name.parent}", resource=name)
    return array_of(current)


def _check_etag(name: ArrayName, array: Array | None, etag: str | None) -> None:
    present = "" if array is None else array.etag
    if etag is not None and etag != present:
        there = f"it is at etag {present}" if present else "there is no such array"
        raise Conflict(
            f"{name}: {there}, not {etag or 'free'}; look at it and decide again", resource=name, etag=present
        )


def _contention(name: ArrayName) -> Contention:
    return Contention(f"{name}: others keep changing it; try again", retry_seconds=0.1, resource=name)
