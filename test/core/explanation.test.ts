import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Capability, type CapabilityQuery, createPairs, matches } from '../../src/core/capability.js';
import { measureMisspelling } from '../../src/core/edit-distance.js';
import { Explainer, explainQuery } from '../../src/core/explainer.js';
import type { ExplainedReplica } from '../../src/core/explanation.js';
import { describeExplanation, summarizeExplanation } from '../../src/core/explanation-text.js';
import type { Protocol } from '../../src/core/protocol.js';
import { parseSelector } from '../../src/core/selector-parser.js';

/** Creates a capability as registration does. Only text, numbers and booleans become pairs. */
function createParsedCapability(object: Readonly<Record<string, unknown>>): Capability {
  const scalars = Object.entries(object).filter(([, value]) => typeof value !== 'object');
  return {
    pairs: createPairs(scalars.map(([key, value]) => [key, String(value)] as const)),
    source: JSON.stringify(object),
  };
}

function replica(
  id: string,
  objects: readonly Readonly<Record<string, unknown>>[],
  state = 'ready',
  stateAgeMs = 5200,
): ExplainedReplica {
  return { id, capabilities: objects.map(createParsedCapability), protocol: 'grpc', state, stateAgeMs };
}

/** Creates a ready replica with a URL. */
function urlReplica(...args: Parameters<typeof replica>): ExplainedReplica {
  return { ...replica(...args), protocol: 'http' };
}

/** Parses a query such as `a=1&b=2`. */
function parse(query: string): CapabilityQuery {
  const words = query.split('&').filter(Boolean);
  return createPairs(words.map((pair) => pair.split('=') as [string, string]));
}

/** Returns the reason why a query found nothing. */
function explain(query: string, ...replicas: ExplainedReplica[]): string | undefined {
  return summarizeExplanation(explainQuery(parse(query), replicas))?.text;
}

/** Returns the message and the details for a query. */
function describeQueryAmong(query: string, ...replicas: ExplainedReplica[]): string[] {
  const { message, details } = describeExplanation(explainQuery(parse(query), replicas));
  return [message, ...details];
}

const chat = { type: 'chat', model: 'llama' };

describe('a query with a selector', () => {
  const explainWhere = (where: string, ...replicas: ExplainedReplica[]): string[] => {
    const selector = parseSelector(where, 'where');
    const { message, details } = describeExplanation(explainQuery(parse('type=chat'), replicas, { selector }));
    return [message, ...details];
  };

  it.each([
    ['ctx>=8192', { ctx: 4096 }, 'wanted ctx>=8192, "r1" has ctx=4096'],
    ['gpu in (h100,a100)', { gpu: 't4' }, 'wanted gpu in (h100,a100), "r1" has gpu=t4'],
    ['gpu=h100', { gpu: 't4' }, 'wanted gpu=h100, "r1" has gpu=t4'],
    ['zone!=a', { zone: 'a' }, 'wanted zone!=a, "r1" has zone=a'],
    ['zone notin (a,b)', { zone: 'b' }, 'wanted zone notin (a,b), "r1" has zone=b'],
    ['spot', {}, 'wanted spot, "r1" has no spot'],
    ['!spot', { spot: true }, 'wanted !spot, "r1" has spot=true'],
    ['ctx>1,zone=a', { ctx: 2, zone: 'b' }, 'wanted zone=a, "r1" has zone=b'],
    ['model="a b"', { model: 'x' }, 'wanted model="a b", "r1" has model=x'],
  ])('%s says which term a replica with %j does not satisfy', (where, pairs, expected) => {
    const [message, ...details] = explainWhere(where, replica('r1', [{ type: 'chat', ...pairs }]));
    expect(message).toBe(`no replica offers {"type":"chat"} where ${JSON.stringify(where)}`);
    expect(details).toEqual([expected]);
  });

  it('counts the replicas that match both as candidates', () => {
    const [large, small] = [
      replica('large', [{ type: 'chat', ctx: 9000 }]),
      replica('small', [{ type: 'chat', ctx: 1 }]),
    ];
    expect(explainWhere('ctx>=8192', small, large)).toEqual([
      '1 ready replica offers {"type":"chat"} where "ctx>=8192": "large"',
    ]);
    expect(explainWhere('ctx>=8192', small, { ...large, state: 'draining' })).toEqual([
      'no ready replica offers {"type":"chat"} where "ctx>=8192"',
      '"large" (draining for 5s) matches, but gets no calls',
    ]);
  });

  it('needs one object with the pairs and the terms, and all objects for negative terms alone', () => {
    const split = replica('r1', [
      { type: 'chat', ctx: 1 },
      { type: 'embed', ctx: 9000 },
    ]);
    expect(explainWhere('ctx>=8192', split)[1]).toBe('wanted ctx>=8192, "r1" has ctx=1');
    const selector = parseSelector('zone!=a', 'where');
    const mixed = replica('r1', [{ zone: 'b' }, { zone: 'a' }]);
    const { candidates, selectorMiss } = explainQuery([], [mixed], { selector });
    expect([candidates.count, selectorMiss]).toEqual([0, { id: 'r1', term: 'zone!=a', key: 'zone', offered: 'a' }]);
  });
});

describe('the reason why no replica matches', () => {
  it('names matching replicas that are unready, draining or suspect, and for how long', () => {
    expect(explain('type=chat', replica('r1', [chat], 'unready'))).toBe('"r1" (unready for 5s) does');
    expect(explain('type=chat', replica('r1', [chat], 'unready'), replica('r2', [chat], 'draining', 90_000))).toBe(
      '"r1" (unready for 5s) and "r2" (draining for 1m) do',
    );
    const five = ['a', 'b', 'c', 'd', 'e'].map((id) => replica(id, [chat], 'suspect'));
    expect(explain('model=llama&type=chat', ...five)).toBe(
      '"a" (suspect for 5s), "b" (suspect for 5s), "c" (suspect for 5s) and 2 more do',
    );
    expect(explain('', replica('r1', [{}], 'unready'), replica('r2', []))).toBe('"r1" (unready for 5s) does');
    expect(explain('type=chat', replica('r1', [chat], 'ready', 0))).toBe('"r1" (ready for 0s) does now: try again');
    expect(explain('type=chat', { id: 'r1', protocol: 'grpc', capabilities: [createParsedCapability(chat)] })).toBe(
      '"r1" (listed) does',
    );
  });

  it('names matching replicas that are cordoned, with the reason', () => {
    const cordoned = (id: string, reason: string, state = 'ready'): ExplainedReplica => ({
      ...replica(id, [chat], state),
      cordon: { cordoned: true, reason, atMs: 1 },
    });
    expect(explain('type=chat', cordoned('r1', ''), cordoned('r2', 'bad "GPU"', 'unready'))).toBe(
      '"r1" (cordoned) and "r2" (cordoned: "bad \\"GPU\\"") do',
    );
    expect(explain('type=chat', cordoned('r1', 'x'.repeat(256)))).toBe(`"r1" (cordoned: "${'x'.repeat(64)}…") does`);
    const uncordoned = { ...replica('r1', [chat], 'unready'), cordon: { cordoned: false, reason: '', atMs: 1 } };
    expect(explain('type=chat', uncordoned)).toBe('"r1" (unready for 5s) does');
  });

  it('reports pairs in different objects of a replica, or at different replicas', () => {
    expect(explain('type=chat&gpu=h100', replica('r1', [chat, { gpu: 'h100' }]))).toBe(
      '"r1" has all of these pairs, but in different capability objects',
    );
    expect(explain('type=chat&gpu=h100', replica('r1', [chat]), replica('r2', [{ gpu: 'h100' }]))).toBe(
      'no replica has all of these pairs: type=chat by "r1" and gpu=h100 by "r2"',
    );
  });

  it('reports a list, which never matches', () => {
    expect(explain('model=b', replica('r1', [{ model: ['a', 'b'] }]))).toBe(
      '"r1" has a list for model, and a list never matches: register a capability for each value, such as model=b',
    );
    expect(explain('n=2', replica('r1', [{ n: [1, 2] }]))).toContain('"r1" has a list for n');
    expect(explain('model=b', replica('r1', [{ model: ['a', 'c'], __proto__: ['b'] }]))).toBeUndefined();
    expect(explain('__proto__=b', replica('r1', [{ x: ['b'] }]))).toBeUndefined();
  });

  it.each([
    ['model=lama', [chat], 'did you mean model=llama?'],
    ['model=Llama', [chat], 'did you mean model=llama?'],
    ['model=lalma', [chat], 'did you mean model=llama?'],
    ['modle=llama', [chat], 'did you mean model=llama?'],
    ['Model=llama', [chat], 'did you mean model=llama?'],
    ['modell=gpt', [chat], 'did you mean the key model?'],
    ['type=llama', [chat], 'did you mean model=llama?'],
    ['type=caht&model=lama', [chat], 'did you mean type=chat and model=llama?'],
    ['model=qwen2.5', [{ model: 'qwen2.5-7b-instruct' }], 'did you mean model=qwen2.5-7b-instruct?'],
    ['model=my lama', [{ model: 'my llama' }], 'did you mean model="my llama"?'],
    ['model=gpt', [chat], undefined],
    ['model=x', [{ model: 'y' }], undefined],
    ['gpu=1', [{ n: 1 }], undefined],
    ['constructor=x', [chat], undefined],
  ])('for %s among %j is %s', (query, objects, text) => {
    expect(explain(query, replica('r0', [{ other: 'thing' }]), replica('r1', objects))).toBe(text);
  });

  it('reports the only value in which a replica differs', () => {
    expect(explain('type=chat&gpu=h100', replica('r3', [{ ...chat, gpu: 'rtx4090' }]))).toBe(
      'wanted gpu=h100, "r3" has gpu=rtx4090',
    );
  });

  it('is the most certain of several reasons', () => {
    const all = [
      replica('held', [{ type: 'chat', gpu: 'h100' }], 'unready'),
      replica('list', [{ type: 'chat', gpu: ['h100'] }]),
      replica('apart', [{ type: 'chat' }, { gpu: 'h100' }]),
      replica('spelling', [{ type: 'chat', gpu: 'h10' }]),
    ];
    const rank = (from: number): string => explain('type=chat&gpu=h100', ...all.slice(from)) ?? '';
    expect(
      [rank(0), rank(1), rank(2), rank(3)].map((text) => /held|list|apart|different|mean/.exec(text)?.[0]),
    ).toEqual(['held', 'list', 'apart', 'mean']);
  });

  it('truncates long values, and is one line', () => {
    const long = 'x'.repeat(1000);
    const text = explain(`a=${long}`, replica('r'.repeat(100), [{ a: `${long}` }], 'unready')) ?? '';
    expect(text.length).toBeLessThan(120);
    expect(explain('a=bcdef', replica('r1', [{ a: 'bcd\nef' }]))).toBe('did you mean a="bcd\\nef"?');
  });

  it('counts and lists exactly the replicas that match', () => {
    const text = fc.constantFrom('a', 'b', 'ab', 'constructor', '__proto__', '');
    const object = fc.dictionary(text, fc.oneof(text, fc.integer({ min: 0, max: 1 }), fc.constant(['a'])));
    const state = fc.constantFrom('ready', 'suspect', 'unready');
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.array(object, { maxLength: 3 }), state), { maxLength: 14 }),
        fc.array(fc.tuple(text, text)),
        (all, pairs) => {
          const query = createPairs(new Map(pairs));
          const replicas = all.map(([objects, inState], at) => replica(`r${at}`, objects, inState));
          const { candidates, others, offeredBy } = explainQuery(query, replicas);
          const matching = replicas.filter(({ capabilities }) => matches(query, capabilities));
          const listIds = (...states: string[]): string[] =>
            states.flatMap((one) => matching.filter((match) => match.state === one).map(({ id }) => id));
          const ready = listIds('ready');
          const [chosen, passedOver] =
            ready.length > 0 ? [ready, listIds('unready', 'suspect')] : [listIds('suspect'), listIds('unready')];
          expect([candidates.count, others.count]).toEqual([chosen.length, passedOver.length]);
          expect(candidates.first.map(({ id }) => id)).toEqual(chosen.slice(0, 10));
          expect(others.first.map(({ id }) => id)).toEqual(passedOver.slice(0, 10));
          if (matching.length > 0) expect(offeredBy.every((id) => id !== undefined)).toBe(true);
        },
      ),
    );
  });

  it.each<[string, string, (at: number) => ExplainedReplica]>([
    ['50,000 replicas', 'model=lama&type=chta', (at) => replica(`r${at}`, [{ model: `llama-${at}`, type: 'chat' }])],
    ['keys that are all similar', 'model=lama', (at) => replica(`r${at}`, [{ [`mode${at % 10}${at}`]: 'llama' }])],
    [
      'values with a common prefix',
      `model=${'a'.repeat(60)}`,
      (at) => replica(`r${at}`, [{ model: `${'a'.repeat(55)}${at}` }]),
    ],
    [
      'many objects',
      'model=lama',
      (at) => replica(`r${at}`, at === 0 ? Array(4096).fill({ a: 1, b: 2, c: 3, d: 4 }) : []),
    ],
    ['lists', 'model=x', (at) => replica(`r${at}`, [{ model: [`a${at}`, 'b'] }])],
    [
      'a query of 64 pairs',
      Array.from({ length: 64 }, (_, n) => `k${n}=v`).join('&'),
      (at) => replica(`r${at}`, [{ [`k${at % 64}`]: 'w', x: at }]),
    ],
  ])('takes limited time: %s', (_what, query, at) => {
    const replicas = Array.from({ length: 50_000 }, (_, n) => at(n));
    const before = process.cpuUsage();
    explain(query, ...replicas);
    expect(process.cpuUsage(before).user / 1000).toBeLessThan(5000);
  });

  it.each([
    ['equal', 'x'.repeat(1_000_000), 'x'.repeat(1_000_000)],
    ['close', 'x'.repeat(1_000_000), `${'x'.repeat(999_999)}y`],
    ['a list in brackets', '[', '['.repeat(1_000_000)],
    ['a list of a million', '1', `[${'1,'.repeat(500_000)}1]`],
  ])('takes limited time for values of a megabyte: %s', (_what, wanted, offered) => {
    const before = process.cpuUsage();
    const one = offered.startsWith('[')
      ? { id: 'r1', capabilities: [{ pairs: [], source: `{"a":${offered}}` }], state: 'ready' }
      : replica('r1', [{ a: offered, b: `${offered}z` }]);
    explain(`a=${wanted}`, ...Array(100).fill(one));
    expect(process.cpuUsage(before).user / 1000).toBeLessThan(3000);
  });

  it('reports when it has not examined all replicas', () => {
    const explainer = new Explainer(['a', '1'], {}, 10);
    const replicas = Array.from({ length: 100 }, (_, at) => replica(`r${at}`, [{ b: 2 }]));
    expect([...explainer.examine(replicas)]).toEqual([]);
    const explanation = explainer.getExplanation({ replicaCount: 100 });
    expect(explanation).toMatchObject({ isTruncated: true, replicaCount: 100 });
    expect(explanation.examinedCount).toBeLessThan(10);
    expect(describeExplanation(explanation).details).toContainEqual(
      expect.stringMatching(/^only \d of 100 replicas were examined$/),
    );
  });

  it('accepts a candidate that was found in another way when it has not examined all replicas', () => {
    const explainer = new Explainer(['a', '1'], {}, 10);
    const last = replica('last', [{ a: 1 }]);
    expect(explainer.needsCandidate).toBe(false);
    for (const _ of explainer.examine([...Array(100).fill(replica('r', [{ b: 2 }])), last]));
    expect(explainer.needsCandidate).toBe(true);
    explainer.recordCandidate(last);
    expect(explainer.needsCandidate).toBe(false);
    expect(explainer.getExplanation({ replicaCount: 101 }).candidates).toMatchObject({
      count: 1,
      first: [{ id: 'last' }],
    });
  });

  it.each([
    ['a ready HTTP replica', urlReplica('h1', [{ a: 1 }]), undefined],
    ['a suspect gRPC replica', replica('g1', [{ a: 1 }], 'suspect'), 'grpc'],
  ] as const)('replaces %s by a better candidate that was not examined', (_what, found, protocol) => {
    const explainer = new Explainer(['a', '1'], { protocol }, 10);
    for (const _ of explainer.examine([found, ...Array(100).fill(replica('r', [{ b: 2 }]))]));
    expect(explainer.needsCandidate).toBe(true);
    explainer.recordCandidate(found);
    expect(explainer.getExplanation({ replicaCount: 102 }).candidates).toMatchObject({
      count: 1,
      first: [{ id: found.id }],
    });
    explainer.recordCandidate(replica('last', [{ a: 1 }]));
    expect(explainer.getExplanation({ replicaCount: 102 }).candidates).toMatchObject({
      count: 1,
      first: [{ id: 'last' }],
    });
  });

  it.each<[string, string, (at: number) => ExplainedReplica]>([
    ['small replicas', 'a=1', (at) => replica(`r${at}`, [{ b: at }])],
    ['replicas without capabilities', 'a=1', (at) => replica(`r${at}`, [])],
    ['a replica with many objects', 'a=1', (at) => replica('r', at > 0 ? [] : Array(4096).fill({ b: 2, c: 3, d: 4 }))],
    ['many misspellings', 'model=abcdefghij', (at) => replica(`r${at}`, [{ model: `abcdefgh${at}` }])],
    [
      'a query and an object of 32 pairs',
      Array.from({ length: 32 }, (_, n) => `a-long-key-${n}=v`).join('&'),
      (at) =>
        replica(`r${at}`, [Object.fromEntries(Array.from({ length: 32 }, (_, n) => [`a-long-key-${n}${at}`, 1]))]),
    ],
    ['long lists', 'model=x', (at) => replica(`r${at}`, [{ model: Array(16_000).fill(`${at}`) }])],
    ['huge lists', 'model=x', (at) => replica(`r${at}`, at < 10 ? [{ model: Array(250_000).fill(1) }] : [])],
  ])('is found in steps of less than 5 ms: %s', (_what, query, at) => {
    const replicas = Array.from({ length: 500 }, (_, n) => at(n));
    const shortestMs: number[] = [];
    // The shortest time of each step is without garbage collections and without the effects of other tests.
    for (let repetition = 0; repetition < 5; repetition++) {
      const steps = new Explainer(parse(query)).examine(replicas);
      for (let [step, done]: [number, boolean | undefined] = [0, false]; !done; step++) {
        const before = process.cpuUsage();
        done = steps.next().done;
        shortestMs[step] = Math.min(shortestMs[step] ?? Number.POSITIVE_INFINITY, process.cpuUsage(before).user / 1000);
      }
    }
    expect(Math.max(...shortestMs)).toBeLessThan(5);
  });
});

describe('the description of an explanation', () => {
  it('names the replicas of which one is picked, and the other matches', () => {
    expect(describeQueryAmong('type=chat', replica('r1', [chat]))).toEqual([
      '1 ready replica offers {"type":"chat"}: "r1"',
    ]);
    const states = ['ready', 'unready', 'ready', 'suspect', 'ready', 'ready', 'ready'];
    expect(describeQueryAmong('type=chat', ...states.map((state, at) => replica(`r${at}`, [chat], state)))).toEqual([
      '5 ready replicas offer {"type":"chat"}: "r0", "r2", "r4" and 2 more',
      '"r1" (unready for 5s) and "r3" (suspect for 5s) match, but get no calls',
    ]);
  });

  it('does not call replicas ready at a server that reports no states', () => {
    const [first, second] = ['r1', 'r2'].map((id) => ({ ...replica(id, [chat]), state: undefined }));
    expect(describeQueryAmong('type=chat', first as ExplainedReplica, second as ExplainedReplica)).toEqual([
      '2 replicas offer {"type":"chat"}: "r1" and "r2"',
    ]);
  });

  it('names suspect replicas as those that are picked if none is ready', () => {
    expect(describeQueryAmong('', replica('r1', [chat], 'suspect'), replica('r2', [chat], 'draining'))).toEqual([
      'no ready replica offers {}, but 1 suspect replica does: "r1"',
      '"r2" (draining for 5s) matches, but gets no calls',
    ]);
  });

  it('has the matches that get no calls, and no reason why nothing matches', () => {
    const cordoned = { ...replica('r1', [chat]), cordon: { cordoned: true, reason: 'disk full', atMs: 1 } };
    const list = replica('r2', [{ type: ['chat'] }]);
    expect(describeQueryAmong('type=chat', cordoned, list)).toEqual([
      'no ready replica offers {"type":"chat"}',
      '"r1" (cordoned: "disk full") matches, but gets no calls',
    ]);
  });

  it('has all reasons why nothing matches, the most certain first', () => {
    const all = [
      replica('list', [{ type: 'chat', gpu: ['h100'] }]),
      replica('apart', [{ type: 'chat' }, { gpu: 'h100' }]),
      replica('near', [{ type: 'chat', gpu: 'a100' }]),
    ];
    expect(describeQueryAmong('type=chat&gpu=h100', ...all)).toEqual([
      'no replica offers {"type":"chat","gpu":"h100"}',
      '"list" has a list for gpu, and a list never matches: register a capability for each value, such as gpu=h100',
      '"apart" has all of these pairs, but in different capability objects',
      'wanted gpu=h100, "near" has gpu=a100',
    ]);
    expect(describeQueryAmong('gpu=h100', replica('near', [{ gpu: 'l4' }]))).toEqual([
      'no replica offers {"gpu":"h100"}',
      'wanted gpu=h100, "near" has gpu=l4',
    ]);
  });

  it('has the number of replicas when none offers anything similar', () => {
    const other = replica('r1', [{ b: 2 }]);
    expect(describeQueryAmong('a=1')[1]).toBe('no replica is registered');
    expect(describeQueryAmong('a=1', other)[1]).toBe('1 replica is registered, and offers nothing similar');
    expect(describeQueryAmong('a=1', other, other)[1]).toBe(
      '2 replicas are registered, and none offers anything similar',
    );
  });

  it('reports that the API server has just started, unless a replica matches', () => {
    const explainer = new Explainer(['a', '1']);
    const describeNow = () => describeExplanation(explainer.getExplanation({ replicaCount: 0, isWarming: true }));
    expect(describeNow().details).toContain('the API server has just started, so replicas can still be missing');
    explainer.recordCandidate({ id: 'r1', protocol: 'grpc', state: 'ready' });
    expect(describeNow().details).toEqual([]);
  });
});

describe('an explanation of replicas with two protocols', () => {
  const both = [replica('g1', [chat]), urlReplica('h1', [chat]), urlReplica('h2', [chat], 'suspect')];
  const describeFor = (protocol: Protocol | undefined, replicas: readonly ExplainedReplica[], query = 'type=chat') => {
    const { message, details } = describeExplanation(explainQuery(parse(query), replicas, { protocol }));
    return [message, ...details];
  };

  it('has the candidates of the protocol that was asked for', () => {
    expect(describeFor('grpc', both)).toEqual([
      '1 ready gRPC replica offers {"type":"chat"}: "g1"',
      '"h1" and "h2" offer it over HTTP',
    ]);
    expect(describeFor('http', both)).toEqual([
      '1 ready HTTP replica offers {"type":"chat"}: "h1"',
      '"h2" (suspect for 5s) matches, but gets no calls',
      '"g1" offers it over gRPC',
    ]);
  });

  it('has those that a request without a protocol gets', () => {
    expect(describeFor(undefined, both)).toEqual([
      '1 ready replica offers {"type":"chat"}: "g1"',
      '"h1" and "h2" offer it over HTTP',
    ]);
    expect(describeFor(undefined, both.slice(1))).toEqual([
      '1 ready replica offers {"type":"chat"}: "h1"',
      '"h2" (suspect for 5s) matches, but gets no calls',
    ]);
    expect(describeFor(undefined, [replica('g1', [chat], 'suspect'), urlReplica('h1', [chat])])).toEqual([
      'no ready replica offers {"type":"chat"}, but 1 suspect replica does: "g1"',
      '"h1" offers it over HTTP',
    ]);
  });

  it('says that only replicas with the other protocol match', () => {
    const replicas = [urlReplica('h1', [chat]), replica('g1', [{ type: 'embed' }])];
    expect(describeFor('grpc', replicas)).toEqual([
      'no gRPC replica offers {"type":"chat"}',
      '"h1" offers it over HTTP',
    ]);
    expect(summarizeExplanation(explainQuery(parse('type=chat'), replicas, { protocol: 'grpc' }))).toEqual({
      rank: 1,
      text: '"h1" offers it over HTTP',
      otherProtocol: 'http',
    });
    const unready = [urlReplica('h1', [chat]), replica('g1', [chat], 'unready')];
    expect(describeFor('grpc', unready)).toEqual([
      'no ready gRPC replica offers {"type":"chat"}',
      '"g1" (unready for 5s) matches, but gets no calls',
      '"h1" offers it over HTTP',
    ]);
  });

  it('leaves out replicas with the other protocol that get no calls either', () => {
    expect(describeFor('grpc', [replica('g1', [chat]), urlReplica('h1', [chat], 'unready')])).toEqual([
      '1 ready gRPC replica offers {"type":"chat"}: "g1"',
    ]);
    expect(describeFor(undefined, [replica('g1', [chat]), urlReplica('h1', [chat], 'unready')])).toEqual([
      '1 ready replica offers {"type":"chat"}: "g1"',
      '"h1" (unready for 5s) matches, but gets no calls',
    ]);
  });
});

/** Computes the same distance from the whole table. Used as the oracle. */
function computePlainDistance(a: string, b: string): number {
  const table = Array.from({ length: a.length + 1 }, (_, i) => Array.from({ length: b.length + 1 }, (_, j) => i + j));
  const at = (i: number, j: number): number => table[i]?.[j] ?? Number.POSITIVE_INFINITY;
  for (let i = 1; i <= a.length; i++) {
    for (let j = 1; j <= b.length; j++) {
      const changed = at(i - 1, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const isSwapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      const least = Math.min(changed, at(i - 1, j) + 1, at(i, j - 1) + 1, isSwapped ? at(i - 2, j - 2) + 1 : changed);
      (table[i] as number[])[j] = least;
    }
  }
  return at(a.length, b.length);
}

describe('measureMisspelling', () => {
  it('returns the same distance as the whole table, up to the limit', () => {
    const word = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 14 });
    fc.assert(
      fc.property(word, word, (wanted, offered) => {
        const plain = computePlainDistance(wanted, offered);
        const limit = Math.min(3, Math.floor(wanted.length / 3));
        expect(measureMisspelling(wanted, offered)).toBe(plain <= limit ? plain : undefined);
      }),
      { numRuns: 2000 },
    );
  });

  it.each([
    ['llama', 'llama', 0],
    ['llama', 'LLAMA', 0],
    ['llama', 'lama', 1],
    ['llama', 'lalma', 1],
    ['llama', 'llamas', 1],
    ['llama', 'lxxma', undefined],
    ['mistral', 'mitsrla', 2],
    ['ab', 'ac', undefined],
    ['abc', 'abd', 1],
    ['', 'a', undefined],
  ])('measures %j as %j: %s', (wanted, offered, distance) => {
    expect(measureMisspelling(wanted, offered)).toBe(distance);
  });
});
