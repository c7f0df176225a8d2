"""An entry of the registry by grpcurl."""

from __future__ import annotations

import uuid

import pytest
from tests.end_to_end.grpcurl import COMMAND, call, refused
from tests.servers import Server

pytestmark = pytest.mark.skipif(COMMAND is None, reason="grpcurl is neither on the PATH nor in .tools")


@pytest.mark.stores("embedded")  # the services' tests know the other stores
def test_an_entry_is_registered_found_renewed_and_released(shared: Server) -> None:
    parent = f"registry/gateway-{uuid.uuid4()}"
    name = f"{parent}/registrations/site-a"

    def registry(action: str) -> str:
        return f"measurand.v1.RegistryService/{action}"

    said = {"name": name, "endpoint": "grpc://a:1", "ttl": "30s", "labels": {"site": "n"}}
    said["metadata"] = {"fields": {"cores": 8}}
    made = call(shared, registry("Register"), {"registration": said, "request_id": "once"})
    lease = {"name": name, "lease_id": made["lease_id"]}
    assert (made["registration"]["epoch"], made["registration"]["metadata"]) == ("1", said["metadata"])
    again = call(shared, registry("Register"), {"registration": said, "request_id": "once"})
    assert again["lease_id"] == made["lease_id"]
    assert refused(shared, registry("Register"), {"registration": said})["details"][0]["reason"] == "LEASE_HELD"
    found = call(shared, registry("GetRegistration"), {"name": name})
    assert (found["endpoint"], found["etag"]) == ("grpc://a:1", made["registration"]["etag"])
    listed = call(shared, registry("ListRegistrations"), {"parent": parent, "filter": "metadata.cores = 8"})
    assert [one["name"] for one in listed["registrations"]] == [name]
    many = {"parent": parent, "names": [name, f"{name}-b"]}
    assert call(shared, registry("BatchGetRegistrations"), many)["missing"] == [f"{name}-b"]
    start = call(shared, registry("PollRegistrations"), {"parent": parent})
    renewed = call(shared, registry("RenewRegistration"), {**lease, "endpoint": "grpc://b:1"})
    assert renewed["endpoint"] == "grpc://b:1"
    assert call(shared, registry("ReleaseRegistration"), lease) == {}
    assert refused(shared, registry("RenewRegistration"), lease)["details"][0]["reason"] == "LEASE_LOST"
    told = call(shared, registry("PollRegistrations"), {"parent": parent, **start})
    assert told["changes"][-1]["kind"] == "CHANGE_KIND_DELETED"
