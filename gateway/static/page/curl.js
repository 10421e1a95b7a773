// The command that asks the same from a terminal.

const SAFE = /^[\w./:@=+-]+$/; // what no shell reads in another way

/** The line for a question; `fields` are those of the form. */
export function curlLine(name, fields, needsKey) {
  const parts = ["curl"];
  if (needsKey) parts.push("-H", '"X-API-Key: $API_KEY"'); // the key itself is not for the screen
  parts.push("-F", quoted(`blob=@${fileName(name)}`));
  for (const [field, value] of Object.entries(fields)) parts.push("-F", quoted(`${field}=${fieldValue(value)}`));
  parts.push(quoted(new URL("classify", document.baseURI).href));
  return parts.join(" ");
}

/** curl cuts a name at `;` and takes `,` for another file, but not within double quotes. */
function fileName(name) {
  return /[;,"\\]/.test(name) ? inDoubleQuotes(name) : name;
}

/** curl cuts a value at `;`, but not within double quotes. */
function fieldValue(value) {
  return /[;"]/.test(value) ? inDoubleQuotes(value) : value;
}

function inDoubleQuotes(text) {
  return `"${text.replace(/["\\]/g, "\\$&")}"`;
}

function quoted(word) {
  return SAFE.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
