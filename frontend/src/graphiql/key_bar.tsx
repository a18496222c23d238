/** @jsxImportSource react */
/** The row above the editors: the API key of this tab, and what the last answer said about it. */
import { useId, useState } from "react";
import { keepKey, readKey } from "../page/key";
import type { Refusal } from "./fetcher";

function explain(refusal: Refusal, hasKey: boolean): string {
  if (refusal?.code === "UNAUTHENTICATED") return hasKey ? "The gateway does not know this key." : "This query needs an API key.";
  if (refusal?.code === "FORBIDDEN") return hasKey ? `Not permitted for this key: ${refusal.message}.` : "This query needs an API key.";
  return refusal ? `${refusal.message}.` : "";
}

export function KeyBar({ refusal, onChange }: { refusal: Refusal; onChange: () => void }) {
  const [key, setKey] = useState(readKey);
  const [isShown, setShown] = useState(false);
  const id = useId();
  const change = (given: string) => {
    const trimmed = given.trim();
    keepKey(trimmed);
    setKey(trimmed);
    onChange();
  };
  const words = explain(refusal, key !== "");
  return (
    <form className="key-bar" onSubmit={(event) => event.preventDefault()}>
      <label htmlFor={id}>API key</label>
      <div className="key-field">
        <input
          id={id}
          type={isShown ? "text" : "password"}
          value={key}
          placeholder="none: only what is public"
          autoComplete="off"
          autoCapitalize="off"
          spellCheck={false}
          aria-describedby={`${id}-note`}
          aria-invalid={words !== ""}
          onChange={(event) => change(event.target.value)}
        />
        {key && (
          <>
            <button type="button" aria-pressed={isShown} onClick={() => setShown(!isShown)}>
              {isShown ? "Hide" : "Show"}
            </button>
            <button type="button" onClick={() => change("")}>
              Forget
            </button>
          </>
        )}
      </div>
      <p id={`${id}-note`} className="key-note" role="status" data-refused={words !== "" || undefined}>
        {words || "Stored in this tab until you close it; sent as Authorization: Bearer."}
      </p>
    </form>
  );
}
