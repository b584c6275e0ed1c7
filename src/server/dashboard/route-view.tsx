import { useEffect, useId, useMemo, useState } from 'preact/hooks';
import type { CapabilityFilter } from '../../core/selector.js';
import { type ParsedFilter, parseFilterText } from './fleet-filter.js';
import type { FleetRow } from './fleet-row.js';
import { findMatches, formatUnmetTerm, type NearMiss } from './near-misses.js';
import type { ExplainedQuery, ServerApi } from './server-api.js';
import type { Session } from './session.js';
import { CutText, formatCount, StateText, toShownText } from './shown-text.js';

/** Maximum number of matches that are listed. */
const MAX_LISTED = 100;

interface RouteViewProps {
  readonly session: Session;
  readonly api: Pick<ServerApi, 'explain'>;
  readonly text: string;
  readonly onType: (text: string) => void;
  readonly onOpen: (replicaId: string) => void;
}

/** Which replicas would get a call, and why others would not. */
export function RouteView({ session, api, text, onType, onOpen }: RouteViewProps) {
  const id = useId();
  const parsed = useMemo(() => parseFilterText(text), [text]);
  const [asked, setAsked] = useState<CapabilityFilter>();
  const explained = useExplanation(api, asked);
  const onSubmit = (event: Event): void => {
    event.preventDefault();
    if (parsed.kind === 'filter') setAsked({ ...parsed.filter });
  };
  const error = parsed.kind === 'error' ? parsed.message : undefined;
  return (
    <div class="question">
      <form class="filters" onSubmit={onSubmit}>
        <label class="field is-wide">
          <span>A call for</span>
          <input
            type="text"
            value={text}
            placeholder="type=chat model=qwen2"
            spellcheck={false}
            autocapitalize="off"
            autocomplete="off"
            aria-invalid={error !== undefined}
            aria-describedby={`${id}-error`}
            onInput={(event) => onType(event.currentTarget.value)}
          />
        </label>
        <button type="submit" class="is-primary">
          Who would answer?
        </button>
        <p id={`${id}-error`} class="field-error" aria-live="polite">
          {describeProblem(parsed)}
        </p>
      </form>
      <div class="answer" aria-live="polite">
        {explained && <Explained explained={explained} />}
      </div>
      {asked && explained && <Matches session={session} asked={asked} onOpen={onOpen} />}
    </div>
  );
}

function describeProblem(parsed: ParsedFilter): string {
  return parsed.kind === 'error' ? toShownText(parsed.message) : '';
}

/** Asks the server about a filter each time another one is given. */
function useExplanation(api: Pick<ServerApi, 'explain'>, asked: CapabilityFilter | undefined) {
  const [explained, setExplained] = useState<ExplainedQuery>();
  useEffect(() => {
    if (!asked) return undefined;
    let isCurrent = true;
    const show = (result: ExplainedQuery): void => {
      if (isCurrent) setExplained(result);
    };
    api.explain(asked).then(show, (error: Error) => show({ message: error.message, details: [] }));
    return () => {
      isCurrent = false;
    };
  }, [asked]);
  return explained;
}

function Explained({ explained: { message, details } }: { readonly explained: ExplainedQuery }) {
  return (
    <>
      <p class="answer-message">{toShownText(message)}</p>
      <ul>
        {details.map((detail) => (
          <li key={detail}>{toShownText(detail)}</li>
        ))}
      </ul>
    </>
  );
}

interface MatchesProps {
  readonly session: Session;
  readonly asked: CapabilityFilter;
  readonly onOpen: (replicaId: string) => void;
}

/** The matches and the near misses, which change while replicas come and go. */
function Matches({ session: { fleet }, asked, onOpen }: MatchesProps) {
  const report = useMemo(() => findMatches(asked, fleet.rows.values()), [fleet.version, asked]);
  const { matches, misses, missCount } = report;
  return (
    <>
      <h2>Matches: {formatCount(matches.length)}</h2>
      <ul class="found">
        {matches.slice(0, MAX_LISTED).map((row) => (
          <FoundRow key={row.id} row={row} onOpen={onOpen} note={describeCalls(row, matches)} />
        ))}
      </ul>
      {matches.length > MAX_LISTED && <p class="note">The first {MAX_LISTED} are listed.</p>}
      <h2>Near misses: {formatCount(missCount)}</h2>
      <ul class="found">
        {misses.map((miss) => (
          <FoundRow key={miss.row.id} row={miss.row} onOpen={onOpen} note={describeMiss(miss)} />
        ))}
      </ul>
      {missCount > misses.length && <p class="note">The {misses.length} nearest are listed.</p>}
    </>
  );
}

interface FoundRowProps {
  readonly row: FleetRow;
  readonly note: string;
  readonly onOpen: (replicaId: string) => void;
}

function FoundRow({ row, note, onOpen }: FoundRowProps) {
  return (
    <li>
      <button type="button" class="link" onClick={() => onOpen(row.id)}>
        <CutText text={row.id} />
      </button>
      <StateText state={row.state} />
      <CutText text={note} />
    </li>
  );
}

function describeCalls({ state }: FleetRow, matches: readonly FleetRow[]): string {
  if (state === 'ready') return 'gets calls';
  const isLastResort = state === 'suspect' && matches[0]?.state === 'suspect';
  if (isLastResort) return 'gets calls, because no match is ready';
  return state === 'suspect' ? 'gets calls only when no match is ready' : 'gets no calls';
}

function describeMiss({ unmet }: NearMiss): string {
  return unmet.map(formatUnmetTerm).join('; ');
}
