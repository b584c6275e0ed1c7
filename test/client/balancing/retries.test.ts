import { BinaryWriter } from '@bufbuild/protobuf/wire';
import { Metadata } from '@grpc/grpc-js';
import { describe, expect, it } from 'vitest';
import { Ejection } from '../../../src/client/balancing/ejection.js';
import { readPushBackMs } from '../../../src/client/balancing/push-back.js';
import { RetryBudget } from '../../../src/client/balancing/retry-budget.js';
import { classifyFailure } from '../../../src/client/balancing/retry-rules.js';
import { BrokenConnectionError, NotStartedError } from '../../../src/client/connection-errors.js';
import { AnyserveError, type ErrorCode } from '../../../src/core/errors.js';

describe('RetryBudget', () => {
  it('allows ten retries at once, and then one for five calls', () => {
    const budget = new RetryBudget();
    const takeAll = (): number => {
      let taken = 0;
      while (budget.take()) taken++;
      return taken;
    };
    expect(takeAll()).toBe(10);
    for (let call = 0; call < 4; call++) budget.addCall();
    expect(takeAll()).toBe(0);
    budget.addCall();
    expect(takeAll()).toBe(1);
    for (let call = 0; call < 1000; call++) budget.addCall();
    expect(takeAll()).toBe(10);
  });
});

describe('Ejection', () => {
  it('becomes longer by 30 s each time, up to 300 s, and shorter again while the replica is not ejected', () => {
    const ejection = new Ejection();
    let nowMs = 1000;
    const measureMs = (): number => {
      ejection.eject(nowMs);
      const lastsMs = ejection.untilMs - nowMs;
      nowMs = ejection.untilMs;
      return lastsMs;
    };
    const lasted = Array.from({ length: 12 }, measureMs);
    expect(lasted.slice(0, 3)).toEqual([30_000, 60_000, 90_000]);
    expect(lasted.slice(-3)).toEqual([300_000, 300_000, 300_000]);
    nowMs += 8 * 30_000;
    expect(measureMs()).toBe(150_000);
    nowMs += 3_600_000;
    expect(measureMs()).toBe(30_000);
  });

  it('follows three failures to connect, or five internal errors, without a success in between', () => {
    const ejection = new Ejection();
    expect(Array.from({ length: 3 }, () => ejection.recordFailure('unavailable'))).toEqual([false, false, true]);
    ejection.recordSuccess();
    expect(Array.from({ length: 5 }, () => ejection.recordFailure('internal'))).toEqual([
      false,
      false,
      false,
      false,
      true,
    ]);
    ejection.forgiveInternalError();
    ejection.forgiveInternalError();
    expect(ejection.recordFailure('internal')).toBe(false);
  });
});

describe('classifyFailure', () => {
  it.each<[string, AnyserveError]>([
    ['not_started', new NotStartedError('unavailable', 'x')],
    ['broken', new BrokenConnectionError('unavailable', 'x')],
    ...(
      [
        ['busy', 'unavailable'],
        ['busy', 'resource_exhausted'],
        ['internal', 'internal'],
        ['incapable', 'unimplemented'],
        ['incapable', 'not_found'],
        ['final', 'invalid_argument'],
        ['final', 'unauthenticated'],
        ['final', 'permission_denied'],
        ['final', 'out_of_range'],
        ['final', 'too_large'],
        ['final', 'aborted'],
        ['final', 'data_loss'],
        ['final', 'unknown'],
        ['final', 'deadline_exceeded'],
      ] as [string, ErrorCode][]
    ).map(([kind, code]): [string, AnyserveError] => [kind, new AnyserveError(code, code)]),
    ['final', createGrpcError({ 'grpc-retry-pushback-ms': '-1' })],
  ])('%s: %s', (kind, error) => {
    expect(classifyFailure(error)).toBe(kind);
  });
});

describe('readPushBackMs', () => {
  it.each<[string, Record<string, string | Buffer>, number | undefined]>([
    ['no trailer', {}, undefined],
    ['ms', { 'grpc-retry-pushback-ms': '250' }, 250],
    ['a negative number', { 'grpc-retry-pushback-ms': '-5' }, -5],
    ['no number', { 'grpc-retry-pushback-ms': 'soon' }, -1],
    ['seconds', { 'retry-after': '3' }, 3000],
    ['a date', { 'retry-after': 'Fri, 31 Dec 1999 23:59:59 GMT' }, undefined],
    ['RetryInfo', { 'grpc-status-details-bin': createStatusDetails(2, 500_000_000) }, 2500],
    ['malformed details', { 'grpc-status-details-bin': Buffer.from([0x1a, 0xff]) }, undefined],
  ])('reads %s', (_what, trailers, expected) => {
    expect(readPushBackMs(createGrpcError(trailers))).toBe(expected);
  });

  it('reads the trailers of the error that another one wraps', () => {
    const inner = createGrpcError({ 'retry-after': '1' });
    expect(readPushBackMs(new AnyserveError('internal', 'outer', { cause: inner }))).toBe(1000);
  });
});

function createGrpcError(trailers: Record<string, string | Buffer>): AnyserveError {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(trailers)) metadata.set(name, value);
  const cause = Object.assign(new Error('busy'), { metadata });
  return new AnyserveError('resource_exhausted', 'busy', { cause });
}

/** Serializes a `google.rpc.Status` with a RetryInfo. */
function createStatusDetails(seconds: number, nanos: number): Buffer {
  const duration = new BinaryWriter().uint32(8).int64(seconds).uint32(16).int32(nanos).finish();
  const retryInfo = new BinaryWriter().uint32(10).bytes(duration).finish();
  const any = new BinaryWriter()
    .uint32(10)
    .string('type.googleapis.com/google.rpc.RetryInfo')
    .uint32(18)
    .bytes(retryInfo)
    .finish();
  return Buffer.from(new BinaryWriter().uint32(8).int32(8).uint32(26).bytes(any).finish());
}
