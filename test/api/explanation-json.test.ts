import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseExplanation, serializeExplanation } from '../../src/api/explanation-json.js';
import { createPairs } from '../../src/core/capability.js';
import { explainQuery } from '../../src/core/explainer.js';
import type { ExplainedReplica } from '../../src/core/explanation.js';
import { parseSelector } from '../../src/core/selector-parser.js';
import { createCapability } from '../../src/json/capability-json.js';

const text = fc.constantFrom('a', 'b', 'model', 'modle', '1', '__proto__', '', 'é\n"');
const explainedReplica: fc.Arbitrary<ExplainedReplica> = fc.record(
  {
    id: text,
    capabilities: fc.array(fc.dictionary(text, fc.oneof(text, fc.boolean())).map(createCapability), { maxLength: 2 }),
    protocol: fc.constantFrom('grpc', 'http'),
    state: fc.constantFrom('ready', 'suspect', 'unready', 'draining'),
    stateAgeMs: fc.nat(),
    cordon: fc.record({ cordoned: fc.boolean(), reason: text, atMs: fc.nat() }),
  },
  { requiredKeys: ['id', 'capabilities', 'protocol'] },
);

const protocol = fc.constantFrom(undefined, 'grpc', 'http');

/** An explanation with a list and a near miss. */
const EXPLANATION = explainQuery(
  ['gpu', 'h100', 'type', 'chat'],
  [
    {
      id: 'r1',
      protocol: 'grpc',
      capabilities: [{ pairs: ['type', 'chat'], source: '{"type":"chat","gpu":["h100"]}' }],
    },
    {
      id: 'r3',
      protocol: 'grpc',
      capabilities: [createCapability({ type: 'chat', gpu: 'a100' })],
      state: 'ready',
      stateAgeMs: 1200.4,
    },
  ],
);

describe('the body of an explanation', () => {
  it('has sentences for people and members for programs', () => {
    expect(JSON.parse(serializeExplanation(EXPLANATION))).toEqual({
      message: 'no replica offers {"gpu":"h100","type":"chat"}',
      details: [
        '"r1" has a list for gpu, and a list never matches: register a capability for each value, such as gpu=h100',
        'did you mean gpu=a100?',
        'wanted gpu=h100, "r3" has gpu=a100',
      ],
      replicas: 2,
      examined: 2,
      truncated: false,
      warming: false,
      candidates: { count: 0, replicas: [] },
      others: { count: 0, replicas: [] },
      pairs: [
        { key: 'gpu', value: 'h100', closest: { key: 'gpu', value: 'a100' } },
        { key: 'type', value: 'chat', offered_by: 'r1' },
      ],
      list: { replica_id: 'r1', key: 'gpu', value: 'h100' },
      near_miss: { replica_id: 'r3', key: 'gpu', value: 'h100', offered: 'a100' },
    });
  });

  it('has the protocol that was asked for, and the matches with the other one', () => {
    const replicas: ExplainedReplica[] = [
      { id: 'h1', protocol: 'http', capabilities: [createCapability({ a: '1' })], state: 'ready', stateAgeMs: 5 },
    ];
    expect(JSON.parse(serializeExplanation(explainQuery(['a', '1'], replicas, { protocol: 'grpc' })))).toMatchObject({
      message: 'no gRPC replica offers {"a":"1"}',
      details: ['"h1" offers it over HTTP'],
      candidates: { count: 0, replicas: [] },
      protocol: 'grpc',
      other_protocol: { protocol: 'http', count: 1, replicas: [{ replica_id: 'h1', state: 'ready', state_age_ms: 5 }] },
    });
  });

  it('is parsed as the explanation that was serialized', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(text, text)),
        fc.array(explainedReplica, { maxLength: 6 }),
        protocol,
        fc.constantFrom('', 'a', 'a=1', '!a', 'a>0'),
        (pairs, replicas, protocol, where) => {
          const query = createPairs(new Map(pairs));
          const selector = parseSelector(where, 'where');
          const explanation = explainQuery(query, replicas, { protocol, selector });
          expect(parseExplanation(serializeExplanation(explanation), query)).toEqual(explanation);
        },
      ),
    );
  });

  it('is limited in length, whatever the query and the capabilities have', () => {
    const long = '\u0001'.repeat(16_000);
    const explanation = explainQuery(
      ['a', long, 'b', 'c'],
      [{ id: 'r', protocol: 'grpc', capabilities: [createCapability({ a: `${long}x`, b: 'c' })] }],
    );
    expect(serializeExplanation(explanation).length).toBeLessThan(256 * 1024);
  });

  it.each(['', '[]', '{}', '{"replicas":1}', '{"replicas":1,"examined":1,"candidates":{},"others":{}}', 'null'])(
    'is not %s',
    (body) => {
      expect(parseExplanation(body, ['a', '1'])).toBeUndefined();
    },
  );

  it('is parsed without the members that have an unknown form', () => {
    const tally = { count: 1, replicas: [{ replica_id: 5 }, null, { replica_id: 'r1', state: 7, cordon: 'yes' }] };
    const body = { replicas: 1, examined: 1, candidates: tally, others: tally, pairs: [{ key: 'a', closest: 1 }] };
    const odd = { list: 'x', split: 1, near_miss: { replica_id: 'r1', key: 'a', value: 'b' }, later: true };
    expect(parseExplanation(JSON.stringify({ ...body, ...odd }), ['a', '1'])).toMatchObject({
      candidates: { count: 1, first: [{ id: 'r1', state: undefined, cordon: undefined }] },
      offeredBy: [undefined],
      closest: [undefined],
      list: undefined,
      splitReplicaId: undefined,
      nearMiss: undefined,
      isTruncated: false,
    });
  });
});
