/** Position of an event in the history of one API server: the process, and the number of the event in it. */
export interface EventPosition {
  /** Names one process of one API server. Numbers of different epochs can't be compared. */
  readonly epoch: string;
  readonly number: number;
}

/** A server-sent event. The data is one line. */
export interface EventFrame {
  /** A client that reconnects sends the position of the last event it has received. */
  readonly position?: EventPosition | undefined;
  readonly event: string;
  readonly data: string;
}

/** Formats a server-sent event with an id such as `EPOCH-17`. */
export function formatEventFrame({ position, event, data }: EventFrame): string {
  const id = position ? `id: ${formatEventPosition(position)}\n` : '';
  return `${id}event: ${event}\ndata: ${data}\n\n`;
}

/** Formats a position as the id of an event. */
export function formatEventPosition({ epoch, number }: EventPosition): string {
  return `${epoch}-${number}`;
}

/** Parses the id of an event, as a client sends it in `Last-Event-ID`. Returns undefined for any other string. */
export function parseEventPosition(text: string | undefined): EventPosition | undefined {
  const [, epoch, digits] = /^(.{1,64})-(\d{1,15})$/.exec(text ?? '') ?? [];
  return epoch === undefined ? undefined : { epoch, number: Number(digits) };
}
