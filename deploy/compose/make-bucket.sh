#!/bin/sh
# Makes the bucket where it is not there yet, and has all that is written to buckets synced to the disk.
set -eu
: "${MASTER:=seaweedfs:9333}" "${FILER:=seaweedfs:8888}" "${BUCKET:=measurand}"

ask() {
  echo "$1" | weed shell "-master=$MASTER" "-filer=$FILER"
}

ask 'fs.configure -locationPrefix=/buckets/ -fsync -apply' > /dev/null
ask s3.bucket.list | grep -q "^ *$BUCKET[[:space:]]" || ask "s3.bucket.create -name $BUCKET"
