"""Documents in MongoDB, for any number of servers: a replica set or a sharded cluster of release 6.0 or newer.

Each collection of the port is one of MongoDB's. A document is written and removed by operations on one document, with
write concern majority and journal, and read from the primary with read concern majority: what was acknowledged
survives the loss of a minority of the members, and nobody sees what might still be rolled back. A URL cannot weaken
that.

Sharding: shard every collection by `{_id: 1}`, ranged. Keys begin with `catalogs/<catalog>/datasets/<dataset>`, so
that is catalog and id: the datasets of a catalog, and the files of a dataset, lie side by side, keys stay unique over
all shards, and every operation on one document goes to one shard.
"""

from measurand.storage.documents.mongo.store import Mongo

__all__ = ["Mongo"]
