/** The part of swagger-ui-dist's ES bundle that `/docs` uses; its own types describe the other bundles. */
declare module "swagger-ui-dist/swagger-ui-es-bundle.js" {
  interface SwaggerUIOptions {
    url: string;
    domNode: Element;
    deepLinking: boolean;
    docExpansion: "full" | "list" | "none";
    defaultModelsExpandDepth: number;
    tryItOutEnabled: boolean;
    validatorUrl: string | null;
    onComplete: () => void;
  }
  export default function SwaggerUI(options: SwaggerUIOptions): { preauthorizeApiKey(scheme: string, key: string): void };
}
