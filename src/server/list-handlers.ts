import type { RequestHandler, Response } from 'express';
import { serializeRegistryResponse } from '../api/api-responses.js';
import { type ClockReading, REPLICA_ID_PARAMETER, serializeReplicaDetails } from '../api/replica-list-json.js';
import { asReplicaId } from '../core/ids.js';
import type { Registry } from '../core/registry.js';
import { createJsonHeaders, RETRY_LATER_HEADERS } from '../http/json-response.js';
import { createErrorResponse } from './error-response.js';
import type { HeldList, ListMemory } from './list-memory.js';

/** Maximum number of parts that are written before other requests get a turn: 2 ms of work where none was written before. */
const PARTS_A_TURN = 16;

/** Maximum size of the parts that are written before other requests get a turn, in bytes. A replica can take 1 MiB. */
const WRITTEN_A_TURN = 1024 * 1024;

/** Number of bytes that are handed to the connection before other requests get a turn. */
const BYTES_A_TURN = 256 * 1024;

/** `GET /registry`: the list as it is when it is asked for, however long it takes to send. */
export function createRegistryHandler(registry: Pick<Registry, 'pages'>, memory: ListMemory): RequestHandler {
  return (_request, response) => sendSliced(response, serializeRegistryResponse(registry.pages()), memory);
}

/**
 * `GET /replicas`: the same with all that is known of each, and those that are not routed to. With `?replica_id=ID` the
 * list has that replica alone: clients ask so whether a replica that says nothing is still there.
 */
export function createReplicasHandler(
  registry: Pick<Registry, 'known' | 'find'>,
  moment: () => ClockReading,
  memory: ListMemory,
): RequestHandler {
  return (request, response) => {
    const id = new URLSearchParams(request.url.split('?', 2)[1]).get(REPLICA_ID_PARAMETER);
    const one = id === null ? undefined : registry.find(asReplicaId(id));
    return sendSliced(
      response,
      serializeReplicaDetails(id === null ? registry.known() : one ? [one] : [], moment()),
      memory,
    );
  };
}

/**
 * Answers with a text of many parts. A list of 100,000 is 15 MB, or 26 with all that is known: it is written and sent a
 * slice at a time, so that no other request waits for it, and no more of it in memory than its reader has yet to take.
 */
async function sendSliced(response: Response, text: Iterable<Buffer>, memory: ListMemory): Promise<void> {
  const list = memory.list();
  try {
    let written = 0;
    for (const part of text) {
      if (!list.add(part)) return answerTooManyLists(response);
      written += part.length;
      if (list.length % PARTS_A_TURN !== 0 && written < WRITTEN_A_TURN) continue;
      written = 0;
      await turn();
      if (response.destroyed) return;
    }
    response.writeHead(200, createJsonHeaders(list.bytes));
    if (response.req.method !== 'HEAD') await sendParts(response, list);
    response.end();
  } finally {
    list.release();
  }
}

/** Sends the parts of a list. A part that was taken is not kept while a slow reader takes the rest. */
async function sendParts(response: Response, list: HeldList): Promise<void> {
  let sent = 0;
  for (let part = list.take(); part; part = list.take()) {
    response.write(part);
    sent += part.length;
    if (sent < BYTES_A_TURN) continue;
    sent = 0;
    if (response.writableNeedDrain) await takenBy(response);
    await turn();
    if (response.destroyed) return;
  }
}

const answerTooManyLists = createErrorResponse(
  'unavailable',
  'other readers have yet to take long lists; try again',
  RETRY_LATER_HEADERS,
);

/** Resolves when all else that waits has had its turn. */
function turn(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}

/** Resolves when the other end has taken what was sent, or is gone. */
function takenBy(response: Response): Promise<void> {
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
