/** The colour scheme of the user: the system's, light or dark. Stored in this browser. */

const KEY = "tokengraph.theme";
const THEMES = ["system", "light", "dark"] as const;

export type Theme = (typeof THEMES)[number];

export function readTheme(): Theme {
  try {
    const stored = localStorage.getItem(KEY);
    return stored === "light" || stored === "dark" ? stored : "system";
  } catch {
    return "system"; // storage may be forbidden
  }
}

export function applyTheme(theme: Theme): void {
  const root = document.documentElement;
  if (theme === "system") delete root.dataset.theme;
  else root.dataset.theme = theme;
}

function keepTheme(theme: Theme): void {
  try {
    if (theme === "system") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, theme);
  } catch {
    // then the choice holds for this page only
  }
}

/** Lets the header's button go round the themes. */
export function startThemeButton(): void {
  const button = document.querySelector<HTMLButtonElement>("[data-theme-button]");
  const name = button?.querySelector("[data-theme-name]");
  if (!button || !name) return;
  let theme = readTheme();
  const show = (): void => {
    applyTheme(theme);
    name.textContent = theme.charAt(0).toUpperCase() + theme.slice(1);
  };
  button.addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length] ?? "system";
    keepTheme(theme);
    show();
  });
  show();
  button.hidden = false;
}
