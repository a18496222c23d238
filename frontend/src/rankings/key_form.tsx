/** Asks for the API key. */
import { useState } from "preact/hooks";

interface Props {
  isWrong: boolean;
  onKey(key: string): void;
}

export function KeyForm({ isWrong, onKey }: Props) {
  const [text, setText] = useState("");
  return (
    <form
      class="card key-form"
      onSubmit={(event) => {
        event.preventDefault();
        if (text.trim()) onKey(text.trim());
      }}
    >
      <h2>Open with your API key</h2>
      <p class="quiet">
        Any valid key of this gateway opens the rankings. It stays in this tab, is sent to this gateway only, and is gone when the tab is
        closed.
      </p>
      <label for="key">API key</label>
      <div class="key-row">
        <input
          id="key"
          type="password"
          autocomplete="off"
          spellcheck={false}
          value={text}
          aria-invalid={isWrong}
          aria-describedby={isWrong ? "key-error" : undefined}
          onInput={(event) => setText(event.currentTarget.value)}
        />
        <button class="button primary" type="submit">
          Open
        </button>
      </div>
      {isWrong && (
        <p class="error" id="key-error" role="alert">
          This key is not valid: it is mistyped, expired or revoked. Enter it again, or ask the operator for a new one (
          <code>tokengraph keys create</code>).
        </p>
      )}
    </form>
  );
}
