import { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { beforeEach, describe, expect, it } from 'vitest';
import { type PendingWrite, WriteBatch } from '../../src/http/write-batch.js';

const socket = new Socket();

let log: string[];
let turnEnds: (() => void)[];
let batch: WriteBatch;

beforeEach(() => {
  log = [];
  turnEnds = [];
  batch = new WriteBatch((task) => turnEnds.push(task));
});

function createWrite(name: string): PendingWrite {
  return { flush: () => log.push(`flush ${name}`), finish: () => log.push(`finish ${name}`) };
}

function addWrites(count: number): void {
  for (let n = 1; n <= count; n++) batch.add(createWrite(String(n)), socket);
}

/** Ends the turn of the event loop. Returns what happened since the last call. */
function endTurn(): string[] {
  for (const end of turnEnds.splice(0)) end();
  return log.splice(0);
}

describe('a batch of writes', () => {
  it('flushes one or two writes of a turn at once', () => {
    addWrites(2);
    expect(log).toEqual(['flush 1', 'finish 1', 'flush 2', 'finish 2']);
    endTurn();
    batch.add(createWrite('next'), socket);
    expect(log).toEqual(['flush next', 'finish next']);
  });

  it('flushes the third write of a turn at its end', () => {
    addWrites(3);
    expect(log.splice(0)).toEqual(['flush 1', 'finish 1', 'flush 2', 'finish 2']);
    expect(endTurn()).toEqual(['flush 3', 'finish 3']);
  });

  it('flushes the writes that follow a turn with several together, at the end of their turn', () => {
    addWrites(3);
    endTurn();
    addWrites(3);
    expect(log).toEqual([]);
    expect(endTurn()).toEqual(['flush 1', 'flush 2', 'flush 3', 'finish 1', 'finish 2', 'finish 3']);
  });

  it('flushes writes at once again after a turn with one', () => {
    addWrites(3);
    endTurn();
    addWrites(1);
    expect(endTurn()).toEqual(['flush 1', 'finish 1']);
    addWrites(1);
    expect(log).toEqual(['flush 1', 'finish 1']);
  });

  it('flushes 64 writes before the end of the turn', () => {
    addWrites(3);
    endTurn();
    addWrites(63);
    expect(log).toEqual([]);
    addWrites(1);
    expect(log.filter((entry) => entry.startsWith('flush'))).toHaveLength(64);
    log = [];
    addWrites(1);
    expect(log).toEqual([]);
    expect(endTurn()).toEqual(['flush 1', 'finish 1']);
  });

  it('flushes a write that another one adds when it finishes', () => {
    addWrites(3);
    endTurn();
    addWrites(2);
    batch.add({ flush: () => log.push('flush'), finish: () => batch.add(createWrite('added'), socket) }, socket);
    expect(endTurn()).toEqual(['flush 1', 'flush 2', 'flush', 'finish 1', 'finish 2']);
    expect(endTurn()).toEqual(['flush added', 'finish added']);
  });

  it('flushes writes at once with TLS, and to a socket that is gone', () => {
    addWrites(3);
    endTurn();
    batch.add(createWrite('TLS'), new TLSSocket(socket));
    batch.add(createWrite('gone'), null);
    expect(log).toEqual(['flush TLS', 'finish TLS', 'flush gone', 'finish gone']);
  });

  it('asks for the end of a turn once, and not for that of a turn without writes', () => {
    addWrites(3);
    expect(turnEnds).toHaveLength(1);
    endTurn();
    expect(turnEnds).toHaveLength(0);
  });
});
