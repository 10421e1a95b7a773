// The API is at the path of this page, so it also works behind a proxy that adds a path prefix.
const here = new URL(".", location.href).pathname;

fetch("openapi.json")
  .then((response) => response.json())
  .then((spec) =>
    SwaggerUIBundle({
      spec: { ...spec, servers: [{ url: here }] },
      dom_id: "#swagger-ui",
      deepLinking: true,
      tryItOutEnabled: true,
      validatorUrl: null, // Otherwise the page sends its address to swagger.io.
    }),
  );
