import { describe, expect, it } from 'vitest';
import {
  formatValidationIssues,
  parseErrorDetail,
  parseRegistryResponse,
  parseRouteResponse,
} from '../../src/api/api-responses.js';
import { createListEntry } from '../../src/api/replica-json.js';
import { SerializedReplica } from '../../src/api/serialized-replica.js';
import { formatReplicaList, replica, serializedReplica } from '../support/replicas.js';

describe('API responses', () => {
  it('serializes compact JSON with the key order of the Python server', () => {
    expect(serializedReplica('r1', {}).routeResponse).toBe('{"endpoint":"r1.test:50051","replica_id":"r1"}');
    expect(formatReplicaList([])).toBe('{"replicas":[]}');
    expect(formatReplicaList([replica('r1', { model: 'qwen2' })])).toBe(
      '{"replicas":[{"replica_id":"r1","endpoint":"r1.test:50051","capabilities":[{"model":"qwen2"}]}]}',
    );
  });

  it('serializes a route as UTF-8 with one character per byte', () => {
    const body = '{"endpoint":"é€😀.test:50051","replica_id":"é€😀"}';
    expect(Buffer.from(serializedReplica('é€😀').routeResponse, 'latin1').toString('utf8')).toBe(body);
  });

  it.each(['r1', 'é', 'a "quoted" \\ name', 'endpoint'])(
    'keeps the serializations of a replica, and changes none of its properties (%s)',
    (id) => {
      const plain = replica(id, { model: 'qwen2', n: 1 }, {});
      const serialized = new SerializedReplica(plain);
      expect(serialized.listEntry).toBe(createListEntry(plain).entry);
      expect(parseRouteResponse(Buffer.from(serialized.routeResponse, 'latin1').toString())).toEqual({
        endpoint: plain.endpoint,
        replicaId: plain.id,
      });
      expect(serialized).toEqual(plain);
    },
  );

  it('parses what it serializes', () => {
    const replicas = [replica('r1', { model: 'qwen2' }), replica('é', { __proto__: 'x', n: 1 }, {})];
    expect(parseRegistryResponse(formatReplicaList(replicas))).toEqual(replicas);
    expect(parseRouteResponse('{"endpoint":"a:1","replica_id":"r1"}')).toEqual({ endpoint: 'a:1', replicaId: 'r1' });
  });

  it.each(['', 'null', '<html>', '[]', '{"endpoint":1,"replica_id":"r"}', '{"endpoint":"a:1"}'])(
    'rejects %j as a route',
    (body) => {
      expect(parseRouteResponse(body)).toBeUndefined();
    },
  );

  it.each(['', '{}', '{"replicas":{}}', '{"replicas":[1]}', '{"replicas":[{"replica_id":"r"}]}'])(
    'rejects %j as a list',
    (body) => {
      expect(parseRegistryResponse(body)).toBeUndefined();
    },
  );

  it('formats the issues of a 422 on one line', () => {
    const body =
      '{"detail":[{"type":"missing","loc":["body","endpoint"],"msg":"Field required","input":{}},{"type":"dict_type","loc":["body","capabilities",0],"msg":"Input should be a valid dictionary","input":1}]}';
    expect(formatValidationIssues(body)).toBe(
      'endpoint: Field required; capabilities.0: Input should be a valid dictionary',
    );
    expect(formatValidationIssues('{"detail":"x"}')).toBeUndefined();
    expect(parseErrorDetail('{"detail":"x"}')).toBe('x');
    expect(parseErrorDetail(body)).toBeUndefined();
  });
});
