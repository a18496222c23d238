/** Shows the OpenAPI document by Swagger UI. The tab's key, if there is one, is what its requests are sent with. */
import "../csp/styles";
import SwaggerUI from "swagger-ui-dist/swagger-ui-es-bundle.js";
import "swagger-ui-dist/swagger-ui.css";
import "./docs.css";
import { readKey } from "../page/key";
import { readShade, watchShade } from "../page/shade";
import { startThemeButton } from "../page/theme";

const showShade = (): void => {
  document.documentElement.classList.toggle("dark-mode", readShade() === "dark");
};
showShade();
watchShade(showShade);
startThemeButton();
const place = document.getElementById("docs");
if (place?.dataset.state === "loading") {
  const ui = SwaggerUI({
    url: "/openapi.json",
    domNode: place,
    deepLinking: true,
    docExpansion: "list",
    defaultModelsExpandDepth: 0,
    tryItOutEnabled: true,
    // The validator of swagger.io would be asked otherwise.
    validatorUrl: null,
    onComplete: () => {
      const key = readKey();
      if (key) ui.preauthorizeApiKey("bearer", key);
      place.dataset.state = "ready";
    },
  });
}
