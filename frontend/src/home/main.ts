/** The first page: colours, and how old the snapshot is. */
import "../style/home.css";
import { durationInWords, now } from "../page/clock";
import { startThemeButton } from "../page/theme";

startThemeButton();
for (const time of document.querySelectorAll<HTMLTimeElement>("time[data-ago]")) {
  const exact = time.textContent ?? "";
  const show = (): void => {
    time.textContent = `${durationInWords(Math.max(0, (now() - Date.parse(time.dateTime)) / 1000))} ago`;
  };
  time.title = exact;
  show();
  setInterval(show, 10_000);
}
