import { DurationHistogram, type DurationSeries } from './duration-histogram.js';
import type { Sample } from './label-counts.js';

/** Upper bounds of the buckets, in seconds. The first ones are for requests that the index answers. */
const REQUEST_BUCKETS = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
];

/** Times of the requests of an API server, by resource and class of status. */
export class RequestTimes {
  readonly histogram = new DurationHistogram(REQUEST_BUCKETS);
  readonly #routes = new Map<string, RouteTimes>();

  /** Returns the times of one resource. */
  getRoute(route: string): RouteTimes {
    let times = this.#routes.get(route);
    if (!times) {
      times = new RouteTimes(route, this.histogram);
      this.#routes.set(route, times);
    }
    return times;
  }

  /** Lists the results of route requests. */
  listRouteResults(): Iterable<Sample> {
    const { found, noMatch, refused } = this.getRoute('/route');
    return [
      [['found'], found],
      [['no_match'], noMatch],
      [['refused'], refused],
    ];
  }
}

/** Times of the requests of one resource. */
export class RouteTimes {
  readonly #route: string;
  readonly #histogram: DurationHistogram;
  /** By the first digit of the status. */
  readonly #series: (DurationSeries | undefined)[] = [];
  /** Number of responses with the status 200, with 404, and with others. */
  found = 0;
  noMatch = 0;
  refused = 0;

  constructor(route: string, histogram: DurationHistogram) {
    this.#route = route;
    this.#histogram = histogram;
  }

  record(status: number, ms: number): void {
    if (status === 200) this.found++;
    else if (status === 404) this.noMatch++;
    else this.refused++;
    const digit = Math.floor(status / 100);
    const series = this.#series[digit] ?? this.#histogram.getSeries(this.#route, `${digit}xx`);
    this.#series[digit] = series;
    series.record(ms);
  }
}
