import { useId, useState } from 'preact/hooks';

interface SignInProps {
  /** Whether the server has refused a token. */
  readonly isRefused: boolean;
  readonly onToken: (token: string) => void;
}

/** Asks for a token. It stays in this tab until the tab is closed. */
export function SignIn({ isRefused, onToken }: SignInProps) {
  const id = useId();
  const [token, setToken] = useState('');
  const onSubmit = (event: Event): void => {
    event.preventDefault();
    // A header can't have other characters, and a token has no spaces around it.
    const typed = token.trim();
    if (typed !== '') onToken(typed);
  };
  return (
    <main class="sign-in">
      <h1>AnyServe</h1>
      <p>This API server needs a token. A read token is enough. This tab keeps it until it is closed.</p>
      <form onSubmit={onSubmit}>
        <label class="field">
          <span>Token</span>
          <input
            type="password"
            value={token}
            autocomplete="off"
            autofocus
            aria-invalid={isRefused}
            aria-describedby={`${id}-error`}
            onInput={(event) => setToken(event.currentTarget.value)}
          />
        </label>
        <button type="submit" class="is-primary">
          Show the fleet
        </button>
      </form>
      <p id={`${id}-error`} class="field-error" role="alert">
        {isRefused && 'The server does not know this token. Use a read token or a register token of this server.'}
      </p>
    </main>
  );
}
