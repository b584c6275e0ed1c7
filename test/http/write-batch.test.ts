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
  return { send: () => log.push(`send ${name}`), finish: () => log.push(`finish ${name}`) };
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
  it('sends one or two writes of a turn at once', () => {
    addWrites(2);
    expect(log).toEqual(['send 1', 'finish 1', 'send 2', 'finish 2']);
    endTurn();
    batch.add(createWrite('next'), socket);
    expect(log).toEqual(['send next', 'finish next']);
  });

  it('sends the third write of a turn at its end', () => {
    addWrites(3);
    expect(log.splice(0)).toEqual(['send 1', 'finish 1', 'send 2', 'finish 2']);
    expect(endTurn()).toEqual(['send 3', 'finish 3']);
  });

  it('sends all writes after a turn with several right after each other, at the end of the turn', () => {
    addWrites(3);
    endTurn();
    addWrites(3);
    expect(log).toEqual([]);
    expect(endTurn()).toEqual(['send 1', 'send 2', 'send 3', 'finish 1', 'finish 2', 'finish 3']);
  });

  it('sends writes at once again after a turn with one', () => {
    addWrites(3);
    endTurn();
    addWrites(1);
    expect(endTurn()).toEqual(['send 1', 'finish 1']);
    addWrites(1);
    expect(log).toEqual(['send 1', 'finish 1']);
  });

  it('sends 64 writes before the end of the turn', () => {
    addWrites(3);
    endTurn();
    addWrites(63);
    expect(log).toEqual([]);
    addWrites(1);
    expect(log.filter((entry) => entry.startsWith('send'))).toHaveLength(64);
    log = [];
    addWrites(1);
    expect(log).toEqual([]);
    expect(endTurn()).toEqual(['send 1', 'finish 1']);
  });

  it('sends a write that is added by another one at the end of a turn', () => {
    addWrites(3);
    endTurn();
    addWrites(2);
    batch.add({ send: () => log.push('send'), finish: () => batch.add(createWrite('added'), socket) }, socket);
    expect(endTurn()).toEqual(['send 1', 'send 2', 'send', 'finish 1', 'finish 2']);
    expect(endTurn()).toEqual(['send added', 'finish added']);
  });

  it('sends writes at once with TLS, and to a socket that is gone', () => {
    addWrites(3);
    endTurn();
    batch.add(createWrite('TLS'), new TLSSocket(socket));
    batch.add(createWrite('gone'), null);
    expect(log).toEqual(['send TLS', 'finish TLS', 'send gone', 'finish gone']);
  });

  it('asks for the end of a turn once, and not for that of a turn without writes', () => {
    addWrites(3);
    expect(turnEnds).toHaveLength(1);
    endTurn();
    expect(turnEnds).toHaveLength(0);
  });
});
