// The calls are beside this page, also where a proxy serves the gateway under a path of its own.
const here = new URL(".", location.href).pathname;

fetch("openapi.json")
  .then((answer) => answer.json())
  .then((spec) =>
    SwaggerUIBundle({
      spec: { ...spec, servers: [{ url: here }] },
      dom_id: "#swagger-ui",
      deepLinking: true,
      tryItOutEnabled: true,
      validatorUrl: null, // else the page would send its address to swagger.io
    }),
  );
