#!/usr/bin/env bash
# Asks a worker with the real grpcurl, which gets all descriptors by reflection. The binary is $GRPCURL, else the one on the PATH,
# else one that Go builds. Needs `npm run build`.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
worker=
trap '[ -z "$worker" ] || kill "$worker"; rm -rf "$work"' EXIT

grpcurl=${GRPCURL:-$(command -v grpcurl || true)}
if [ -z "$grpcurl" ]; then
  GOBIN=$work go install github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3
  grpcurl=$work/grpcurl
fi

node bin/anyserve.js worker --backend echo --cap type=echo --no-register --port 0 >"$work/out" &
worker=$!
for _ in $(seq 100); do grep -q '^serving on ' "$work/out" && break || sleep 0.1; done
endpoint=$(sed -n 's/^serving on //p' "$work/out")
[ -n "$endpoint" ] || { echo 'the worker does not start'; exit 1; }

ask() { "$grpcurl" -plaintext "$@"; }
expect() { # PATTERN, and the arguments of grpcurl
  local pattern=$1 answer
  shift
  answer=$(ask "$@" 2>&1) || { echo "grpcurl $*: $answer"; exit 1; }
  tr -d ' \n' <<<"$answer" | grep -q "$pattern" || { echo "grpcurl $*: no $pattern in: $answer"; exit 1; }
}

services=$(ask "$endpoint" list)
[ "$(wc -l <<<"$services")" = 4 ] || { echo "services: $services"; exit 1; }
for service in $services; do
  expect "^${service}isaservice" "$endpoint" describe "$service"
  for method in $(ask "$endpoint" list "$service"); do expect "^${method}isamethod" "$endpoint" describe "$method"; done
done
expect 'map<string,.grpc.health.v1.HealthCheckResponse>statuses=1' "$endpoint" describe grpc.health.v1.HealthListResponse
expect '"status":"SERVING"' "$endpoint" grpc.health.v1.Health/Check
expect '"inference.GRPCInferenceService":{"status":"SERVING"}' "$endpoint" grpc.health.v1.Health/List
expect '"live":true' "$endpoint" inference.GRPCInferenceService/ServerLive
expect '"ready":true' "$endpoint" inference.GRPCInferenceService/ServerReady
input='{"name":"a","datatype":"INT32","shape":[1],"contents":{"int_contents":[3]}}'
expect '"intContents":\[3\]' -d "{\"model_name\":\"echo\",\"inputs\":[$input]}" "$endpoint" \
  inference.GRPCInferenceService/ModelInfer
echo 'all held'
