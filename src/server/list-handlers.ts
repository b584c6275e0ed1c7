import type { RequestHandler, Response } from 'express';
import { asReplicaId } from '../core/ids.js';
import type { Registry } from '../core/registry.js';
import { listParts } from '../wire/answers.js';
import { knownParts, type Moment, REPLICA_ID_PARAMETER } from '../wire/known-replicas.js';
import { jsonHeaders } from './answer.js';

/** So many parts are written before others have their turn: 2 ms of work where none of them was written before. */
const PARTS_A_TURN = 16;

/** So many bytes are handed to the connection before others have their turn. */
const BYTES_A_TURN = 256 * 1024;

/** `GET /registry`: the list as it is when it is asked for, however long it takes to send. */
export function registryHandler(registry: Pick<Registry, 'pages'>): RequestHandler {
  return (_request, response) => sendSliced(response, listParts(registry.pages()));
}

/**
 * `GET /replicas`: the same with all that is known of each, and those that are not routed to. With `?replica_id=ID` the
 * list has that replica alone: clients ask so whether a replica that says nothing is still there.
 */
export function replicasHandler(registry: Pick<Registry, 'known' | 'find'>, moment: () => Moment): RequestHandler {
  return (request, response) => {
    const id = new URLSearchParams(request.url.split('?', 2)[1]).get(REPLICA_ID_PARAMETER);
    const one = id === null ? undefined : registry.find(asReplicaId(id));
    return sendSliced(response, knownParts(id === null ? registry.known() : one ? [one] : [], moment()));
  };
}

/**
 * Answers with a text of many parts. A list of 100,000 is 15 MB, or 26 with all that is known: it is written and sent a
 * slice at a time, so that no other request waits for it, and no more of it in memory than its reader has yet to take.
 */
async function sendSliced(response: Response, text: Iterable<Buffer>): Promise<void> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for (const part of text) {
    parts.push(part);
    bytes += part.length;
    if (parts.length % PARTS_A_TURN === 0) await turn();
  }
  if (response.destroyed) return;
  response.writeHead(200, jsonHeaders(bytes));
  if (response.req.method === 'HEAD') return void response.end();
  let sent = 0;
  // What was sent is not kept while a slow reader takes the rest. From the end, an array gives its parts up in no time.
  parts.reverse();
  for (let part = parts.pop(); part; part = parts.pop()) {
    response.write(part);
    sent += part.length;
    if (sent < BYTES_A_TURN) continue;
    sent = 0;
    if (response.writableNeedDrain) await takenBy(response);
    await turn();
    if (response.destroyed) return;
  }
  response.end();
}

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
