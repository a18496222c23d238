/**
 * Lets libraries that write styles into the document work under `style-src 'self' 'nonce-…'`, without `unsafe-inline`.
 *
 * A style element gets the page's nonce when it is made. A style attribute, which no nonce can allow, is set through the element's `style`
 * object instead: that is script, which the policy trusts already. Has to be imported before the libraries.
 */

const HELD = "data-held-style";
const TAG = /<[a-z][^\s/>]*(?:\s+[^\s=>/]+(?:\s*=\s*(?:"[^"]*"|'[^']*'|[^\s"'>]+))?)*\s*\/?>/gi;
const ATTRIBUTE = /(\s)([^\s=>/]+)(\s*=\s*(?:"[^"]*"|'[^']*'|[^\s"'>]+))/g;

/** Returns HTML with its style attributes renamed, so that the browser ignores them. Text is unchanged. */
export function holdStyles(html: string): string {
  return html.replace(TAG, (tag) =>
    tag.replace(ATTRIBUTE, (whole, space: string, name: string, value: string) =>
      name.toLowerCase() === "style" ? `${space}${HELD}${value}` : whole,
    ),
  );
}

/** Sets the styles that were held back, below a node that the HTML was written into. */
function applyHeldStyles(root: ParentNode): void {
  for (const element of root.querySelectorAll<HTMLElement | SVGElement>(`[${HELD}]`)) {
    element.style.cssText = element.getAttribute(HELD) ?? "";
    element.removeAttribute(HELD);
  }
}

function write(html: unknown, parent: () => ParentNode | null, original: (html: string) => void): void {
  const text = String(html);
  const held = /style/i.test(text) ? holdStyles(text) : text;
  original(held);
  if (held !== text) applyHeldStyles(parent() ?? document);
}

function patchHtml(): void {
  const proto = Element.prototype;
  const inner = Object.getOwnPropertyDescriptor(proto, "innerHTML");
  if (!inner?.set) return;
  const { set } = inner;
  Object.defineProperty(proto, "innerHTML", {
    ...inner,
    set(this: Element, html: unknown) {
      write(
        html,
        () => this,
        (text) => set.call(this, text),
      );
    },
  });
  const insert = proto.insertAdjacentHTML;
  proto.insertAdjacentHTML = function (this: Element, position: InsertPosition, html: unknown) {
    const inside = position === "afterbegin" || position === "beforeend";
    write(
      html,
      () => (inside ? this : this.parentElement),
      (text) => insert.call(this, position, text),
    );
  };
  const setAttribute = proto.setAttribute;
  proto.setAttribute = function (this: Element, name: string, value: string) {
    if (name.toLowerCase() === "style" && (this instanceof HTMLElement || this instanceof SVGElement)) this.style.cssText = value;
    else setAttribute.call(this, name, value);
  };
}

function patchElements(nonce: string): void {
  const create = Document.prototype.createElement;
  Document.prototype.createElement = function (this: Document, name: string, options?: ElementCreationOptions) {
    const element = create.call(this, name, options);
    if (element instanceof HTMLStyleElement) element.nonce = nonce;
    return element;
  } as typeof create;
}

patchHtml();
patchElements(document.querySelector<HTMLMetaElement>("meta[property=csp-nonce]")?.nonce ?? "");
