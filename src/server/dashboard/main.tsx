import { render } from 'preact';
import { browserClock, browserRandom, readToken, saveToken } from './browser.js';
import { DashboardPage } from './dashboard-page.js';
import { ServerApi } from './server-api.js';
import { Session } from './session.js';
import { SignIn } from './sign-in.js';

/** Time for which a page that nobody sees stays connected, in ms. Browsers have few connections for all pages of a server. */
const HIDDEN_MS = 60_000;

const place = document.getElementById('page') as HTMLElement;
const api = new ServerApi(readToken, (path, options) => fetch(path, { ...options, cache: 'no-store' }));
let session = createSession();

function createSession(): Session {
  return new Session({ api, clock: browserClock, random: browserRandom, onChange: draw });
}

/** Forgets everything, and connects with another token. */
function restart(token: string): void {
  session.stop();
  saveToken(token);
  session = createSession();
  session.start();
  draw();
}

function draw(): void {
  const { connection } = session;
  if (connection.kind === 'refused') {
    const isRefused = readToken() !== '';
    render(<SignIn isRefused={isRefused} onToken={restart} />, place);
    return;
  }
  const onSignOut = readToken() === '' ? undefined : () => restart('');
  render(<DashboardPage session={session} api={api} onSignOut={onSignOut} />, place);
}

let cancelPause = (): void => {};
document.addEventListener('visibilitychange', () => {
  cancelPause();
  if (document.hidden) cancelPause = browserClock.schedule(HIDDEN_MS, () => session.stop());
  else if (session.connection.kind !== 'refused') session.start();
});

session.start();
draw();
