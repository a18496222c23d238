/** Starts the rankings page. */
import "../style/rankings.css";
import { render } from "preact";
import { startThemeButton } from "../page/theme";
import { App } from "./app";

startThemeButton();
const root = document.getElementById("rankings");
if (root) {
  const { url = "", floor = "", query = "" } = root.dataset;
  root.replaceChildren();
  render(<App source={{ url, floor, query }} />, root);
}
