import { describe, expect, it } from 'vitest';
import {
  formatValidationIssues,
  parseErrorDetail,
  parseRegistryResponse,
  parseRouteResponse,
} from '../../src/api/api-responses.js';
import { SerializedReplica, serializeReplica, serializeRouteResponse } from '../../src/api/serialized-replica.js';
import { listText, replica } from '../support/replicas.js';

describe('answers', () => {
  it('are compact, in the order of the original', () => {
    expect(serializeRouteResponse(replica('r1', {}))).toBe('{"endpoint":"r1.test:50051","replica_id":"r1"}');
    expect(listText([])).toBe('{"replicas":[]}');
    expect(listText([replica('r1', { model: 'qwen2' })])).toBe(
      '{"replicas":[{"replica_id":"r1","endpoint":"r1.test:50051","capabilities":[{"model":"qwen2"}]}]}',
    );
  });

  it('are bytes, for a route, each as one character', () => {
    const body = '{"endpoint":"é€😀.test:50051","replica_id":"é€😀"}';
    expect(Buffer.from(serializeRouteResponse(replica('é€😀')), 'latin1').toString('utf8')).toBe(body);
  });

  it.each(['r1', 'é', 'a "quoted" \\ name', 'endpoint'])(
    'are the same of a replica that is written once (%s)',
    (id) => {
      const plain = replica(id, { model: 'qwen2', n: 1 }, {});
      const written = new SerializedReplica(plain);
      expect([serializeReplica(written), serializeRouteResponse(written)]).toEqual([
        serializeReplica(plain),
        serializeRouteResponse(plain),
      ]);
      expect(written).toEqual(plain);
    },
  );

  it('are read back', () => {
    const replicas = [replica('r1', { model: 'qwen2' }), replica('é', { __proto__: 'x', n: 1 }, {})];
    expect(parseRegistryResponse(listText(replicas))).toEqual(replicas);
    expect(parseRouteResponse('{"endpoint":"a:1","replica_id":"r1"}')).toEqual({ endpoint: 'a:1', replicaId: 'r1' });
  });

  it.each(['', 'null', '<html>', '[]', '{"endpoint":1,"replica_id":"r"}', '{"endpoint":"a:1"}'])(
    'know %j for no route',
    (body) => {
      expect(parseRouteResponse(body)).toBeUndefined();
    },
  );

  it.each(['', '{}', '{"replicas":{}}', '{"replicas":[1]}', '{"replicas":[{"replica_id":"r"}]}'])(
    'know %j for no list',
    (body) => {
      expect(parseRegistryResponse(body)).toBeUndefined();
    },
  );

  it('say in one line what a 422 finds wrong', () => {
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
