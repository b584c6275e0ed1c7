import type { DurationSeries } from './duration-histogram.js';
import type { LabelCount } from './label-counts.js';

/** The time series that a call is counted in. */
export interface CallSeries {
  readonly durations: DurationSeries;
  readonly calls: LabelCount;
  /** Set when the first tokens are counted: most models of speech or images report none. */
  tokens: { readonly input: LabelCount; readonly output: LabelCount } | undefined;
}

/** The labels of a call. All come from closed sets. */
export interface CallLabels {
  readonly operation: string;
  readonly model: string;
  /** Name of the key. */
  readonly caller: string;
  /** First digit of the status. */
  readonly statusClass: number;
}

/**
 * Finds the time series of calls. A gateway handles tens of thousands of calls a second, and joining the labels of each call to the keys of
 * its four series takes 15 times as long.
 */
export class CallSeriesTable {
  readonly #create: (labels: CallLabels) => CallSeries;
  readonly #byModel = new Map<string, Map<string, Map<string, (CallSeries | undefined)[]>>>();

  /** `create` is called once for each combination of labels. */
  constructor(create: (labels: CallLabels) => CallSeries) {
    this.#create = create;
  }

  find(labels: CallLabels): CallSeries {
    const { operation, model, caller, statusClass } = labels;
    const byCaller = getOrAdd(this.#byModel, model, createMap<Map<string, (CallSeries | undefined)[]>>);
    const byOperation = getOrAdd(byCaller, caller, createMap<(CallSeries | undefined)[]>);
    const byStatus = getOrAdd(byOperation, operation, createList);
    byStatus[statusClass] ??= this.#create(labels);
    return byStatus[statusClass];
  }
}

function getOrAdd<V>(map: Map<string, V>, key: string, create: () => V): V {
  let value = map.get(key);
  if (value === undefined) {
    value = create();
    map.set(key, value);
  }
  return value;
}

function createMap<V>(): Map<string, V> {
  return new Map();
}

function createList(): (CallSeries | undefined)[] {
  return [];
}
