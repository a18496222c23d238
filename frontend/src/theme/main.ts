/** Applies the colours that the reader chose, before the first paint. Alone and tiny, since that paint waits for it. */
import { applyTheme, readTheme } from "../page/theme";

applyTheme(readTheme());
