import { BodyReader, type ByteRange } from './body-pieces.js';
import { prepareNames, type WantedNames } from './member-names.js';
import { TopLevelScanner } from './top-level-scanner.js';
import { Utf8Check } from './utf8-check.js';

/** The model that a body names, and the bytes that name it. In JSON they include the quotes. */
export interface NamedModel extends ByteRange {
  readonly name: string;
}

/** A body that can't be routed. The message says why, without any text of the body, which can be private. */
export interface RefusedBody {
  readonly kind: 'refused';
  readonly message: string;
}

/** Members of a JSON object that matter for routing. */
export interface ScannedJsonBody {
  readonly kind: 'json';
  /** Undefined if the object has no member `model`. */
  readonly model: NamedModel | undefined;
  /** Whether the object has `"stream": true`. */
  readonly isStream: boolean;
  /** Values of the other wanted members that the object has. Of a repeated one, the last, as in `JSON.parse`. */
  readonly values: ReadonlyMap<string, unknown>;
}

/** Names of the members that are always wanted, and their places among the wanted names. */
const MODEL_NAME = 'model';
const STREAM_NAME = 'stream';
const MODEL = 0;
const STREAM = 1;

/** The values of a body without other wanted members, as most are. */
const NO_VALUES: ReadonlyMap<string, unknown> = new Map();

/**
 * Finds the model in a JSON object, and other members, by a single scan of its bytes. Finds the same as `JSON.parse`, except that it
 * refuses repeated models. Does not notice an error within a member that isn't wanted, which the engine then reports.
 */
export class JsonBodyScanner {
  readonly #wanted: WantedNames;

  /** `wanted` are the names of other members to find. They are ASCII in lower case. */
  constructor(wanted: readonly string[] = []) {
    this.#wanted = prepareNames([MODEL_NAME, STREAM_NAME, ...wanted]);
  }

  /** Scans a body. */
  scan(pieces: readonly Buffer[]): ScannedJsonBody | RefusedBody {
    const scanner = new TopLevelScanner(this.#wanted);
    const utf8 = new Utf8Check();
    for (const piece of pieces) {
      scanner.push(piece);
      utf8.push(piece);
    }
    if (!utf8.isComplete) return refuseBody('the body is not valid UTF-8');
    if (!scanner.isComplete) return refuseSyntax(scanner.problemAt ?? scanner.length);
    const [found] = scanner.members;
    // Parsers disagree about which one counts, and for Go's parser `Model` is the same name.
    if (found && (found.count > 1 || scanner.names.hasOtherCase(MODEL)))
      return refuseBody('the body has more than one "model"');
    return this.#readMembers(scanner.members, pieces);
  }

  #readMembers(members: TopLevelScanner['members'], pieces: readonly Buffer[]): ScannedJsonBody | RefusedBody {
    const reader = new BodyReader(pieces);
    let name: unknown;
    let isStream = false;
    let values: Map<string, unknown> | undefined;
    for (let index = 0; index < members.length; index++) {
      const member = members[index];
      if (!member) continue;
      let value: unknown;
      try {
        value = JSON.parse(reader.slice(member.start, member.end).toString());
      } catch {
        return refuseSyntax(member.start);
      }
      if (index === MODEL) name = value;
      else if (index === STREAM) isStream = value === true;
      else values = (values ?? new Map()).set(this.#wanted.names[index] as string, value);
    }
    const found = members[MODEL];
    if (found && typeof name !== 'string') return refuseBody('"model" is not a string');
    const model = found && { name: name as string, start: found.start, end: found.end };
    return { kind: 'json', model, isStream, values: values ?? NO_VALUES };
  }
}

/** Creates the refusal of a body. */
export function refuseBody(message: string): RefusedBody {
  return { kind: 'refused', message };
}

function refuseSyntax(position: number): RefusedBody {
  return refuseBody(`the body is not a JSON object: unexpected byte or end at position ${position}`);
}
