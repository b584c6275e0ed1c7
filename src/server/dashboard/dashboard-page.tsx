import type { ComponentChildren } from 'preact';
import { useLayoutEffect, useState } from 'preact/hooks';
import type { Offer } from '../../core/offer.js';
import { formatTerm, type SelectorTerm } from '../../core/selector.js';
import { EventView } from './event-view.js';
import { ModelView } from './model-view.js';
import { ReplicaDetails } from './replica-details.js';
import { FIRST_CHOICE, ReplicaView } from './replica-view.js';
import { RouteView } from './route-view.js';
import type { ServerApi } from './server-api.js';
import type { Session } from './session.js';
import { AttentionList, Banner, ConnectionText, ServerLine, SummaryLine } from './summary-line.js';

/** The views of the page. The part of the URL after `#` names one, so links and the back button work. */
const VIEWS = { replicas: 'Replicas', models: 'Models', events: 'Events', ask: 'Who would answer?' } as const;

type View = keyof typeof VIEWS;

interface DashboardPageProps {
  readonly session: Session;
  readonly api: ServerApi;
  /** Forgets the token. Undefined if there is none. */
  readonly onSignOut: (() => void) | undefined;
}

/** The whole page. It is drawn again when the session changes. */
export function DashboardPage({ session, api, onSignOut }: DashboardPageProps) {
  const view = useView();
  const [choice, setChoice] = useState(FIRST_CHOICE);
  const [question, setQuestion] = useState('');
  const [openId, setOpenId] = useState<string>();
  const showOffer = (offer: Offer): void => {
    setChoice({ ...FIRST_CHOICE, order: choice.order, filterText: formatOfferFilter(offer) });
    location.hash = '#replicas';
  };
  const views: Readonly<Record<View, () => ComponentChildren>> = {
    replicas: () => <ReplicaView session={session} choice={choice} onChoose={setChoice} onOpen={setOpenId} />,
    models: () => <ModelView session={session} onOpen={showOffer} />,
    events: () => <EventView session={session} onOpen={setOpenId} />,
    ask: () => <RouteView session={session} api={api} text={question} onType={setQuestion} onOpen={setOpenId} />,
  };
  return (
    <>
      <PageHead session={session} onSignOut={onSignOut} />
      <Banner connection={session.connection} />
      <SummaryLine
        session={session}
        state={choice.state}
        onState={(state) => {
          setChoice({ ...choice, state });
          location.hash = '#replicas';
        }}
      />
      <AttentionList session={session} />
      <Views current={view} />
      <main class={`view is-${view}`} aria-label={VIEWS[view]}>
        {views[view]()}
      </main>
      {openId !== undefined && (
        <ReplicaDetails key={openId} session={session} id={openId} onClose={() => setOpenId(undefined)} />
      )}
    </>
  );
}

function PageHead({ session: { server, connection }, onSignOut }: Pick<DashboardPageProps, 'session' | 'onSignOut'>) {
  return (
    <header class="top">
      <h1>AnyServe</h1>
      <ServerLine server={server} address={location.host} />
      <ConnectionText connection={connection} />
      {onSignOut && (
        <button type="button" class="link" onClick={onSignOut}>
          Forget the token
        </button>
      )}
    </header>
  );
}

function Views({ current }: { readonly current: View }) {
  return (
    <nav class="views" aria-label="Views">
      {Object.entries(VIEWS).map(([view, title]) => (
        <a key={view} href={`#${view}`} aria-current={view === current ? 'page' : undefined}>
          {title}
        </a>
      ))}
    </nav>
  );
}

function useView(): View {
  const [hash, setHash] = useState(location.hash);
  // Not useEffect: it runs up to 100 ms later, and a change until then would be lost.
  useLayoutEffect(() => {
    const onChange = (): void => setHash(location.hash);
    addEventListener('hashchange', onChange);
    return () => removeEventListener('hashchange', onChange);
  }, []);
  const name = hash.slice(1);
  return Object.hasOwn(VIEWS, name) ? (name as View) : 'replicas';
}

/** Formats the filter that finds the replicas of an offer. */
function formatOfferFilter({ model, type }: Offer): string {
  const terms = Object.entries({ model, type }).map(([key, value]): SelectorTerm => {
    return value === undefined ? { kind: 'absent', key } : { kind: 'in', key, values: new Set([value]) };
  });
  return terms.map(formatTerm).join(', ');
}
