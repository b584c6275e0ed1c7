import { createParser } from 'eventsource-parser';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  formatValidationIssues,
  parseErrorDetail,
  parseRegistryResponse,
  parseRouteResponse,
} from '../../src/api/api-responses.js';
import { formatRegisteredEvent, formatSupersededEvent, parseLeaseEvent } from '../../src/api/lease-events.js';
import { parseRenewal } from '../../src/api/lease-renewal.js';
import { formatExcludeHeader, parseExcludeHeader, parseQuery, serializeQuery } from '../../src/api/query.js';
import { parseRegistration, validateOversizedBody } from '../../src/api/registration.js';
import { parseReplicaList } from '../../src/api/replica-list-json.js';
import { serializeValidationIssues } from '../../src/api/validation-issues.js';
import {
  parseCap,
  parseCapQuery,
  parseDurationMs,
  parseQueryWords,
  parseWholeNumber,
} from '../../src/cli/argument-parsers.js';
import { parseAdvertised, parseDialable, toSocketAddress } from '../../src/core/endpoint.js';
import { AnyserveError, type ErrorCode } from '../../src/core/errors.js';
import { asReplicaId, parseReplicaId } from '../../src/core/ids.js';
import { parseSelector } from '../../src/core/selector-parser.js';
import { isDatatype } from '../../src/inference/datatype.js';
import { toInferenceRequest } from '../../src/inference/request-response.js';
import { INFERENCE_SERVICE } from '../../src/inference/service-definition.js';
import { parseTensorMessage } from '../../src/inference/tensor-message.js';
import { parseTensorSpec } from '../../src/inference/tensor-spec.js';
import { toTensor } from '../../src/inference/tensor-value.js';
import { readMessages } from '../../src/inference/text-contract.js';
import { JsonSyntaxError, parseJson, SERVER_JSON_LIMITS, UNTRUSTED_JSON_LIMITS } from '../../src/json/exact-json.js';
import { serializeJson } from '../../src/json/json-value.js';
import { parseSampling } from '../../src/worker/sampling.js';
import { formatStatusDetails } from '../../src/worker/service-error.js';
import { formatReplicaList } from '../support/replicas.js';

/** Number of runs of each property. Default: 1,000. `ANYSERVE_TEST_FUZZ_RUNS` sets another. */
const RUNS = { numRuns: Number(process.env['ANYSERVE_TEST_FUZZ_RUNS'] ?? 1000) };

/** Any text, including lone surrogates and control characters. */
const anyText = fc.string({ unit: 'binary', maxLength: 60 });

/** JSON that is complete, cut, or has a piece of another text in it. */
const nearlyJson = fc
  .tuple(fc.json({ maxDepth: 5 }), fc.nat(), anyText, fc.constantFrom('whole', 'cut', 'with a piece'))
  .map(([json, at, piece, how]) => {
    const cut = at % (json.length + 1);
    if (how === 'whole') return json;
    return how === 'cut' ? json.slice(0, cut) : json.slice(0, cut) + piece + json.slice(cut);
  });

const anyBody = fc.oneof(anyText, nearlyJson);

/** A registration with the right fields and any values. */
const nearlyRegistration = fc
  .record(
    {
      replica_id: fc.oneof(anyText, fc.jsonValue()),
      endpoint: fc.oneof(anyText, fc.jsonValue()),
      capabilities: fc.oneof(fc.array(fc.dictionary(anyText, fc.jsonValue())), fc.jsonValue()),
      ttl: fc.oneof(fc.double(), fc.jsonValue()),
    },
    { requiredKeys: [] },
  )
  .map((fields) => JSON.stringify(fields));

/** Runs a parser, and checks that an error has one of these codes and a message. */
function expectOnlyErrors(codes: readonly ErrorCode[], parse: () => unknown): void {
  try {
    parse();
  } catch (error) {
    // A failed expectation of the test, or an error that parsers must not throw.
    if (!(error instanceof AnyserveError)) throw error;
    expect(codes).toContain(error.code);
    expect(error.message).not.toBe('');
  }
}

describe('the JSON parser', () => {
  it.each([
    ['a client', UNTRUSTED_JSON_LIMITS],
    ['a server', SERVER_JSON_LIMITS],
  ])('parses what it serializes, and rejects the rest from %s with a position', (_whom, limits) => {
    fc.assert(
      fc.property(anyBody, (text) => {
        try {
          const written = serializeJson(parseJson(text, limits));
          expect(serializeJson(parseJson(written, limits))).toBe(written);
        } catch (error) {
          expect(error).toBeInstanceOf(JsonSyntaxError);
          expect((error as JsonSyntaxError).position).toBeLessThanOrEqual(text.length);
        }
      }),
      RUNS,
    );
  });
});

describe('the body that a replica sends', () => {
  it('is a valid registration, or has issues that serialize to JSON', () => {
    fc.assert(
      fc.property(fc.oneof(anyBody, nearlyRegistration), (body) => {
        const outcome = parseRegistration(body);
        if (outcome.kind === 'registration') expect(() => JSON.parse(outcome.replica.listEntry)).not.toThrow();
        else expect(JSON.parse(serializeValidationIssues(outcome.issues)).detail.length).toBeGreaterThan(0);
        validateOversizedBody(body);
      }),
      RUNS,
    );
  });

  it('is a valid renewal, or has issues that serialize to JSON', () => {
    const nearlyRenewal = fc
      .record({ state: fc.oneof(anyText, fc.jsonValue()) })
      .map((fields) => JSON.stringify(fields));
    fc.assert(
      fc.property(fc.oneof(anyBody, nearlyRenewal), (body) => {
        const outcome = parseRenewal(body);
        if (outcome.kind === 'invalid') JSON.parse(serializeValidationIssues(outcome.issues));
        else expect([undefined, 'ready', 'unready', 'draining']).toContain(outcome.state);
      }),
      RUNS,
    );
  });
});

describe('a request of a client', () => {
  it('is a query for any text, and parses to the same query after serialization', () => {
    fc.assert(
      fc.property(anyText, (search) => {
        const query = parseQuery(search);
        expect(parseQuery(serializeQuery(query))).toEqual(query);
      }),
      RUNS,
    );
  });

  it('has a selector, or an error with a position', () => {
    const piece = fc.constantFrom(
      'a',
      'in',
      'notin',
      '(',
      ')',
      ',',
      '=',
      '!',
      '!=',
      '>',
      '<=',
      '"',
      '\\\\',
      ' ',
      '1',
      '"é"',
    );
    const nearlySelector = fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join(''));
    fc.assert(
      fc.property(fc.oneof(anyText, nearlySelector), (text) => {
        try {
          parseSelector(text, 'selector');
        } catch (error) {
          if (!(error instanceof AnyserveError)) throw error;
          const [, position] = /at character (\d+), but (found|the selector ends)/.exec(error.message) ?? [];
          expect(Number(position)).toBeGreaterThan(0);
          expect(Number(position)).toBeLessThanOrEqual(text.length + 1);
        }
      }),
      RUNS,
    );
  });

  it('can exclude any well-formed replica id', () => {
    const ids = fc.uniqueArray(fc.string({ unit: 'grapheme', minLength: 1 }).map(asReplicaId), { maxLength: 5 });
    fc.assert(
      fc.property(ids, fc.oneof(anyText, fc.stringMatching(/^[a-f0-9%, ]{0,12}$/)), (excluded, header) => {
        expect(parseExcludeHeader(formatExcludeHeader(excluded))).toEqual(excluded);
        parseExcludeHeader(header);
      }),
      RUNS,
    );
  });
});

describe('a response of an API server', () => {
  it('is parsed, or rejected without an error', () => {
    fc.assert(
      fc.property(anyBody, (body) => {
        for (const read of [
          parseErrorDetail,
          formatValidationIssues,
          parseRouteResponse,
          parseRegistryResponse,
          parseReplicaList,
        ])
          read(body);
      }),
      RUNS,
    );
  });

  it('is the list that was serialized', () => {
    fc.assert(
      fc.property(fc.array(nearlyRegistration), (bodies) => {
        const replicas = bodies
          .map(parseRegistration)
          .flatMap((outcome) => (outcome.kind === 'registration' ? [outcome.replica] : []));
        expect(parseRegistryResponse(formatReplicaList(replicas))).toEqual(replicas);
      }),
      RUNS,
    );
  });

  it('has the same events in any chunks', () => {
    const id = fc.string({ unit: 'binary', maxLength: 40 }).map(asReplicaId);
    fc.assert(
      fc.property(id, fc.array(fc.nat({ max: 200 })), (replicaId, cuts) => {
        const stream = formatRegisteredEvent(replicaId) + formatSupersededEvent(replicaId);
        const events: string[] = [];
        const parser = createParser({ onEvent: ({ data }) => void events.push(parseLeaseEvent(data).status) });
        const places = [0, ...cuts.map((cut) => cut % stream.length).sort((a, b) => a - b), stream.length];
        for (const [at, end] of places.slice(1).entries()) parser.feed(stream.slice(places[at], end));
        expect(events).toEqual(['registered', 'superseded']);
      }),
      RUNS,
    );
  });

  it('can have unknown events', () => {
    fc.assert(
      fc.property(anyBody, (data) => {
        expect(['registered', 'alive', 'superseded', 'unknown']).toContain(parseLeaseEvent(data).status);
      }),
      RUNS,
    );
  });
});

describe('tensors', () => {
  const datatype = fc.oneof(anyText, fc.constantFrom('BOOL', 'INT8', 'UINT64', 'FP16', 'BF16', 'FP32', 'BYTES'));
  const shape = fc.array(fc.bigInt({ min: -3n, max: 5n }), { maxLength: 3 });

  it('are parsed from any raw bytes, or rejected by name', () => {
    fc.assert(
      fc.property(datatype, shape, fc.uint8Array({ maxLength: 64 }), (type, sizes, raw) => {
        const message = { name: 'x', datatype: type, shape: sizes };
        expectOnlyErrors(['invalid_argument'], () => parseTensorMessage('input "x"', message, raw));
      }),
      RUNS,
    );
  });

  it('are created from any values, or rejected by name', () => {
    const declared = fc.record({
      datatype: datatype.filter(isDatatype),
      shape: fc.array(fc.integer(), { maxLength: 3 }),
    });
    fc.assert(
      fc.property(fc.jsonValue(), fc.option(declared, { nil: undefined }), (value, given) => {
        expectOnlyErrors(['invalid_argument'], () => toTensor('input "x"', value as never, given));
        const json = parseJson(JSON.stringify(value).replace(/\\ud[89a-f]../g, ''), SERVER_JSON_LIMITS);
        expectOnlyErrors(['invalid_argument'], () => toTensor('input "x"', json as never, given));
      }),
      RUNS,
    );
  });

  it('are parsed from the bytes of any request, or the request is rejected', () => {
    const whole = INFERENCE_SERVICE.modelInfer.requestSerialize({
      modelName: 'm',
      modelVersion: '',
      id: '1',
      parameters: new Map([['seed', { parameterChoice: { $case: 'int64Param', value: 7n } }]]),
      inputs: [{ name: 'x', datatype: 'BYTES', shape: [1n], parameters: new Map(), contents: undefined }],
      outputs: [],
      rawInputContents: [Buffer.from([1, 0, 0, 0, 65])],
    });
    const broken = fc.tuple(fc.nat(), fc.uint8Array({ maxLength: 8 })).map(([at, piece]) => {
      const cut = at % whole.length;
      return Buffer.concat([whole.subarray(0, cut), piece, whole.subarray(cut + piece.length)]);
    });
    fc.assert(
      fc.property(fc.oneof(broken, fc.uint8Array({ maxLength: 100 }).map(Buffer.from)), (bytes) => {
        let message: Parameters<typeof toInferenceRequest>[0];
        try {
          message = INFERENCE_SERVICE.modelInfer.requestDeserialize(bytes);
        } catch (error) {
          // The protobuf runtime rejects it. The service reports invalid_argument.
          expect(error).toBeInstanceOf(Error);
          return;
        }
        expectOnlyErrors(['invalid_argument'], () => toInferenceRequest(message));
      }),
      RUNS,
    );
  });

  it('have a specification that is parsed from text, or rejected', () => {
    fc.assert(
      fc.property(fc.oneof(anyText, fc.stringMatching(/^[A-Z0-9]{2,5}(\[[-0-9, ]*\])?$/)), (text) => {
        expectOnlyErrors(['invalid_argument'], () => parseTensorSpec('input "x"', text));
      }),
      RUNS,
    );
  });
});

describe('texts for a model', () => {
  const toBytes = (text: string) => ({ datatype: 'BYTES', shape: [1], data: [Buffer.from(text)] }) as const;
  const parameter = fc.oneof(anyText, fc.boolean(), fc.double(), fc.bigInt());

  it('are messages, or rejected with the name of the input', () => {
    const turns = fc
      .array(fc.record({ role: fc.jsonValue(), content: fc.jsonValue() }))
      .map((list) => JSON.stringify(list));
    fc.assert(
      fc.property(fc.oneof(anyBody, turns), (messages) => {
        expectOnlyErrors(['invalid_argument'], () => readMessages({ messages: toBytes(messages) }));
        expectOnlyErrors(['invalid_argument'], () => readMessages({ prompt: toBytes(messages) }));
      }),
      RUNS,
    );
  });

  it('have valid parameters, or are rejected with the name of the parameter', () => {
    const named = fc.constantFrom('temperature', 'top_p', 'max_tokens', 'seed', 'stop', 'triton_x', '__proto__');
    fc.assert(
      fc.property(fc.dictionary(fc.oneof(named, anyText), parameter), (parameters) => {
        expectOnlyErrors(['invalid_argument', 'unimplemented'], () => {
          const { stop, ...numbers } = parseSampling(parameters);
          expect(stop).not.toContain('');
          for (const number of Object.values(numbers)) expect(number).toBeLessThan(Number.POSITIVE_INFINITY);
        });
      }),
      RUNS,
    );
  });

  it('have errors that fit into a gRPC status', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 5000 }), (message) => {
        expect(encodeURIComponent(formatStatusDetails(message)).length).toBeLessThan(4200);
      }),
      { numRuns: 100 },
    );
  });
});

describe('the command line', () => {
  it('is parsed, or rejected as usage', () => {
    const nearlyCap = fc.oneof(anyBody, fc.stringMatching(/^[a-z]{0,3}=?[a-z,={}"]{0,12}$/));
    fc.assert(
      fc.property(nearlyCap, nearlyCap, (one, other) => {
        expectOnlyErrors(['usage'], () => parseCap(one));
        expectOnlyErrors(['usage'], () => parseCapQuery([one, other]));
        expectOnlyErrors(['usage'], () => parseQueryWords([one, other]));
        expectOnlyErrors(['usage'], () => parseDurationMs('timeout', one));
        expectOnlyErrors(['usage'], () => parseWholeNumber('port', one, 0, 65535));
        expectOnlyErrors(['usage'], () => parseReplicaId(one));
      }),
      RUNS,
    );
  });

  it('accepts only endpoints that can be dialled', () => {
    const nearlyEndpoint = fc.oneof(
      anyText,
      fc.stringMatching(/^(dns:(\/\/\/)?|unix:|http:\/\/|ipv4:)?[a-z0-9.:[\]% ,\n-]{0,20}(:[0-9]{0,6})?$/),
    );
    fc.assert(
      fc.property(nearlyEndpoint, (text) => {
        expectOnlyErrors(['usage'], () => parseAdvertised(text));
        expectOnlyErrors(['usage'], () => {
          const address = toSocketAddress(parseDialable(text));
          if ('port' in address) expect(address.port).toBeGreaterThan(0);
          // Never accepts a gRPC target with several addresses or with another scheme.
          expect(text).not.toMatch(/\s|^(?!unix:).*,|:\/\/[^/]/);
        });
      }),
      RUNS,
    );
  });
});
