/** The API key of this tab. In the session's storage only: gone when the tab is closed, never in a URL or a cookie. */

const NAME = "tokengraph.key";

export function readKey(): string {
  try {
    return sessionStorage.getItem(NAME) ?? "";
  } catch {
    return "";
  }
}

export function keepKey(key: string): void {
  try {
    if (key) sessionStorage.setItem(NAME, key);
    else sessionStorage.removeItem(NAME);
  } catch {
    // then it holds until the page is left
  }
}
