#!/bin/sh
# Generates pb/ from the proto files and builds the client: ./build.sh FOLDER leaves FOLDER/client there.
# PROTOC names the protocol compiler, with its arguments if it needs any; the two plugins are those that go.mod pins.
set -eu
mkdir -p "$1"
out=$(cd "$1" && pwd)
cd "$(dirname "$0")"

go build -buildvcs=false -o "$out/" tool
# The proto files name no package of any one language, so the mapping to Go's is given here.
to() { echo "--go_opt=M$1=client/pb/$2 --go-grpc_opt=M$1=client/pb/$2"; }
rm -rf pb
PATH="$out:$PATH" ${PROTOC:-protoc} --proto_path=../../../proto \
    --go_out=. --go_opt=module=client --go-grpc_out=. --go-grpc_opt=module=client \
    $(to kiteline/exchange/v1/statement.proto exchange) $(to kiteline/exchange/v1/peer.proto exchange) \
    $(to kiteline/audit/v1/audit.proto audit) \
    kiteline/exchange/v1/statement.proto kiteline/exchange/v1/peer.proto kiteline/audit/v1/audit.proto

unformatted=$(gofmt -l ./*.go)
[ -z "$unformatted" ] || { echo "gofmt would change $unformatted" >&2; exit 1; }
go vet ./...
go build -buildvcs=false -o "$out/client" .
