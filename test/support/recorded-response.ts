import type { Response } from 'express';

/** Records what a handler sends as its response, without a connection. */
export class RecordedResponse {
  status: number | undefined;
  /** Names and values in turn. */
  headers: readonly string[] = [];
  body = '';

  /** The response for the handler, which has only the methods that small responses need. */
  get response(): Response {
    return this as unknown as Response;
  }

  writeHead(status: number, headers: readonly string[]): this {
    this.status = status;
    this.headers = headers;
    return this;
  }

  cork(): void {}

  uncork(): void {}

  write(text: string): boolean {
    this.body += text;
    return true;
  }

  end(text = ''): this {
    this.body += text;
    return this;
  }
}
