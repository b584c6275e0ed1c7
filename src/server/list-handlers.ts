import type { RequestHandler, Response } from 'express';
import { serializeRegistryResponse } from '../api/api-responses.js';
import { type ClockReading, REPLICA_ID_PARAMETER, serializeReplicaDetails } from '../api/replica-list-json.js';
import { PageSerializer } from '../api/serialized-page.js';
import type { SerializedReplica } from '../api/serialized-replica.js';
import { MAX_STALENESS_HEADER } from '../api/staleness-header.js';
import { asReplicaId } from '../core/ids.js';
import type { Registry } from '../core/registry.js';
import { createJsonHeaders, RETRY_LATER_HEADERS } from '../http/json-response.js';
import { getHeaderValues } from '../http/request-head.js';
import { createErrorResponse, sendError } from './error-response.js';
import type { HeldList, ListMemory } from './list-memory.js';
import { createStalenessHeaders, findStalenessRefusal } from './staleness.js';

/** Maximum number of parts serialized per turn of the event loop. That is 2 ms of work if none is cached. */
const PARTS_PER_TURN = 16;

/** Maximum size of the parts serialized per turn of the event loop, in bytes. A replica can take 1 MiB. */
const SERIALIZED_BYTES_PER_TURN = 1024 * 1024;

/** Number of bytes sent per turn of the event loop. */
const SENT_BYTES_PER_TURN = 256 * 1024;

/** Creates the handler of `GET /registry`. The list is a snapshot at the time of the request, however long sending takes. */
export function createRegistryHandler(
  registry: Pick<Registry<SerializedReplica>, 'pages' | 'stalenessMs'>,
  memory: ListMemory,
): RequestHandler {
  const serializer = new PageSerializer();
  return (request, response) => {
    const staleness = createStalenessHeaders(registry);
    const refusal = findStalenessRefusal(registry, getHeaderValues(request.rawHeaders, MAX_STALENESS_HEADER));
    if (refusal) return sendError(response, refusal.code, refusal.message, staleness);
    return sendList(response, serializeRegistryResponse(registry.pages(), serializer), memory, staleness);
  };
}

/**
 * Creates the handler of `GET /replicas`: a list with all details of each replica, including replicas that aren't routed
 * to. With `?replica_id=ID`, once or several times, the list has those replicas only. Clients use this to check whether a silent
 * replica still exists.
 */
export function createReplicasHandler(
  registry: Pick<Registry<SerializedReplica>, 'known' | 'find'>,
  readClock: () => ClockReading,
  memory: ListMemory,
): RequestHandler {
  return (request, response) => {
    const ids = new Set(new URLSearchParams(request.url.split('?', 2)[1]).getAll(REPLICA_ID_PARAMETER));
    const replicas = ids.size === 0 ? registry.known() : [...ids].flatMap((id) => registry.find(asReplicaId(id)) ?? []);
    return sendList(response, serializeReplicaDetails(replicas, readClock()), memory);
  };
}

/**
 * Sends a list of many parts. A list of 100,000 replicas is 15 MB, or 26 MB with all details. It is serialized and sent
 * in slices, so that other requests don't wait for it. Parts that the client has received are released.
 */
export async function sendList(
  response: Response,
  parts: Iterable<Buffer>,
  memory: ListMemory,
  headers?: Readonly<Record<string, string>>,
): Promise<void> {
  const list = memory.createList();
  try {
    let serializedBytes = 0;
    for (const part of parts) {
      if (!list.add(part)) return sendTooManyLists(response);
      serializedBytes += part.length;
      if (list.length % PARTS_PER_TURN !== 0 && serializedBytes < SERIALIZED_BYTES_PER_TURN) continue;
      serializedBytes = 0;
      await waitOneTurn();
      if (response.destroyed) return;
    }
    response.writeHead(200, createJsonHeaders(list.bytes, headers));
    if (response.req.method !== 'HEAD') await sendParts(response, list);
    response.end();
  } finally {
    list.release();
  }
}

/** Sends the parts of a list. Releases each part once it is sent, since a slow client can take long for the rest. */
async function sendParts(response: Response, list: HeldList): Promise<void> {
  let sentBytes = 0;
  for (let part = list.take(); part; part = list.take()) {
    response.write(part);
    sentBytes += part.length;
    if (sentBytes < SENT_BYTES_PER_TURN) continue;
    sentBytes = 0;
    if (response.writableNeedDrain) await waitForDrain(response);
    await waitOneTurn();
    if (response.destroyed) return;
  }
}

const sendTooManyLists = createErrorResponse(
  'unavailable',
  'too many long lists are being sent; try again',
  RETRY_LATER_HEADERS,
);

/** Resolves after a turn of the event loop, so that other requests are handled in between. */
function waitOneTurn(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}

/** Resolves when the write buffer is empty again or the connection is closed. */
function waitForDrain(response: Response): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done);
      response.off('close', done);
      resolve();
    };
    response.on('drain', done);
    response.on('close', done);
  });
}
