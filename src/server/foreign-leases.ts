import type { Request, Response } from 'express';
import { serializeErrorDetail } from '../api/api-responses.js';
import { FORWARDED_HEADER, MISDIRECTED_STATUS, OWNER_HEADER } from '../api/lease-owner.js';
import type { LeaseId } from '../core/ids.js';
import type { LeaseLocation } from '../core/lease-location.js';
import type { Events, LeaseOwner, ServerEvent } from '../core/ports.js';
import type { RegistryAccess } from '../core/registry-access.js';
import { type JsonResponse, sendJson } from '../http/json-response.js';
import { createErrorResponse, sendError } from './error-response.js';
import type { ForwardFailure, LeaseForwarder, LeaseRequest } from './lease-forwarder.js';

/** Dependencies of {@link ForeignLeases}. */
export interface ForeignLeasesOptions {
  readonly registry: Pick<RegistryAccess, 'id' | 'scope' | 'locateLease'>;
  readonly events: Events<ServerEvent>;
  /** Undefined if no other server has leases. */
  readonly forwarder?: Pick<LeaseForwarder, 'forward'> | undefined;
}

/** The responses to a request for a lease that has ended. */
export type EndedLeaseResponses = Readonly<Record<'superseded' | 'unknown', JsonResponse>>;

/** Where a lease is that this server has not granted. */
export type ForeignLocation = Extract<LeaseLocation, { kind: 'elsewhere' }>;

/** Time after which a server that the store has lost, and that does not respond, counts as ended, in ms. A frozen one can resume before. */
const MAX_SILENCE_MS = 30_000;

const MISDIRECTED_BODY = serializeErrorDetail('another API server granted this lease');

const RETRY_SOON_HEADERS = { 'retry-after': '1' };

const sendUnsettled = createErrorResponse(
  'unavailable',
  'this API server cannot find out at present whether another one has the lease',
  RETRY_SOON_HEADERS,
);

/**
 * Handles requests for leases that this API server has not granted. If another one has the lease, the response is that server's
 * response, or 503. A 404 would make the replica register again.
 */
export class ForeignLeases {
  readonly #options: ForeignLeasesOptions;

  constructor(options: ForeignLeasesOptions) {
    this.#options = options;
  }

  /** Finds the server to ask about a lease. If there is none, sends the response and resolves to undefined. */
  async find(
    request: Request,
    response: Response,
    lease: LeaseId,
    endedResponses: EndedLeaseResponses,
  ): Promise<ForeignLocation | undefined> {
    const location = await this.#options.registry.locateLease(lease);
    switch (location.kind) {
      case 'elsewhere':
        if (request.headers[FORWARDED_HEADER] === undefined) return location;
        // The owner's URL leads to this server, for example because the owner was replaced. A second hop could be a loop.
        sendJson(response, MISDIRECTED_STATUS, MISDIRECTED_BODY, createOwnerHeaders(location.owner));
        return undefined;
      case 'superseded':
      case 'unknown':
        endedResponses[location.kind](response);
        return undefined;
      // The lease was not here when the request arrived.
      case 'here':
      case 'unsettled':
        sendUnsettled(response);
        return undefined;
      default:
        return location satisfies never;
    }
  }

  /**
   * Forwards a request to the owner of its lease, and sends the owner's response. Without one, sends 503, or the response to an unknown
   * lease if the owner counts as ended.
   */
  async forward(
    response: Response,
    { owner }: ForeignLocation,
    request: Omit<LeaseRequest, 'scope'>,
    endedResponses: EndedLeaseResponses,
  ): Promise<void> {
    const { registry, events, forwarder } = this.#options;
    if (!forwarder || owner.url === undefined) {
      return sendUnavailable(response, 'the API server that granted this lease has not reported its URL', owner);
    }
    const outcome = await forwarder.forward(owner.url, { ...request, scope: registry.scope }, registry.id);
    if (outcome.kind === 'response') {
      const { status, body, retryAfter } = outcome;
      return sendJson(response, status, body, retryAfter === undefined ? {} : { 'retry-after': retryAfter });
    }
    if (hasEnded(owner, outcome.kind)) return endedResponses.unknown(response);
    events.emit({ kind: 'forwarding_failed', owner: owner.url, error: outcome.reason });
    sendUnavailable(response, 'the API server that granted this lease cannot be asked', owner);
  }
}

/** Returns whether an API server that could not be asked, and its leases, have ended. */
function hasEnded({ lostForMs }: LeaseOwner, failure: ForwardFailure): boolean {
  if (lostForMs === undefined || failure === 'unsent') return false;
  return failure === 'absent' || lostForMs >= MAX_SILENCE_MS;
}

/** Sends 503 with the URL of the owner, which tells a registrant that this server is not the owner. */
function sendUnavailable(response: Response, detail: string, owner: LeaseOwner): void {
  sendError(response, 'unavailable', detail, { ...RETRY_SOON_HEADERS, ...createOwnerHeaders(owner) });
}

function createOwnerHeaders({ url }: LeaseOwner): Record<string, string> {
  return url === undefined ? {} : { [OWNER_HEADER]: url };
}
