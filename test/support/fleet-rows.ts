import { type FleetRow, parseFleetRow } from '../../src/server/dashboard/fleet-row.js';

/** Creates a row of the dashboard. `row` has members of `GET /replicas`. */
export function fleetRow(id: string, capabilities: readonly object[] = [], row: object = {}): FleetRow {
  const details = { state: 'ready', since: 1000, lease: 'l', peer: '10.0.0.1', ttl: 15, last_seen: 1005, ...row };
  const text = JSON.stringify({ replica_id: id, endpoint: `${id}.test:50051`, capabilities, ...details });
  const parsed = parseFleetRow(text);
  if (!parsed) throw new Error(`not a row: ${text}`);
  return parsed;
}
