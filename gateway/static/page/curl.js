// The curl command for the same request from a terminal.

const SAFE = /^[\w./:@=+-]+$/; // no shell gives these characters a special meaning

/** The command for an image and the fields of the form. */
export function curlLine(name, fields, needsKey) {
  const parts = ["curl"];
  if (needsKey) parts.push("-H", '"X-API-Key: $API_KEY"'); // The key itself must not appear on the screen.
  parts.push("-F", quoted(`blob=@${fileName(name)}`));
  for (const [field, value] of Object.entries(fields)) parts.push("-F", quoted(`${field}=${fieldValue(value)}`));
  parts.push(quoted(new URL("classify", document.baseURI).href));
  return parts.join(" ");
}

/** Outside double quotes, curl ends a name at `;` and starts another file at `,`. */
function fileName(name) {
  return /[;,"\\]/.test(name) ? inDoubleQuotes(name) : name;
}

/** Outside double quotes, curl ends a value at `;`. */
function fieldValue(value) {
  return /[;"]/.test(value) ? inDoubleQuotes(value) : value;
}

function inDoubleQuotes(text) {
  return `"${text.replace(/["\\]/g, "\\$&")}"`;
}

function quoted(word) {
  return SAFE.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
