// All texts of the page, in English and Spanish. The server's error messages are shown unchanged, in English.

const TEXTS = {
  title: ["classification-server", "classification-server"],
  otherLanguage: ["Español", "English"],
  more: ["More", "Más"],
  api: ["API", "API"],
  imageAndOptions: ["Image and options", "Imagen y opciones"],
  drop: ["Drop an image here", "Arrastre una imagen aquí"],
  paste: ["or paste an image from the clipboard", "o pegue una imagen desde el portapapeles"],
  choose: ["Choose an image", "Elegir una imagen"],
  photograph: ["Take a photo", "Tomar una foto"],
  another: ["Another image", "Otra imagen"],
  image: ["Image to classify: {name}", "Imagen por clasificar: {name}"],
  notDisplayable: [
    "This browser cannot show the image, but the server may be able to read it. You can classify the whole image.",
    "Este navegador no puede mostrar la imagen, pero quizá el servidor pueda leerla. Puede clasificar la imagen completa.",
  ],
  regions: ["Regions", "Regiones"],
  regionsOnImage: ["Regions on the image", "Regiones sobre la imagen"],
  draw: [
    "Draw square regions on the image. Without regions, the whole image is classified.",
    "Dibuje regiones cuadradas sobre la imagen. Sin regiones, se clasifica la imagen completa.",
  ],
  keys: [
    "Keyboard: arrows move a region, Shift + arrows resize it, Delete removes it.",
    "Teclado: las flechas mueven una región, Shift + flechas cambian su tamaño y Supr la quita.",
  ],
  add: ["Add a region", "Agregar una región"],
  clear: ["Remove all", "Quitar todas"],
  region: ["Region {number}", "Región {number}"],
  regionAt: ["Region {number}: x {x}, y {y}, side {side}", "Región {number}: x {x}, y {y}, lado {side}"],
  removed: ["Region {number} removed", "Se quitó la región {number}"],
  remove: ["Remove region {number}", "Quitar la región {number}"],
  x: ["x", "x"],
  y: ["y", "y"],
  side: ["side", "lado"],
  whole: ["Whole image", "Imagen completa"],
  topN: ["Predictions per region", "Predicciones por región"],
  consolidate: ["Merge by species", "Agrupar por especie"],
  classify: ["Classify", "Clasificar"],
  cancel: ["Cancel", "Cancelar"],
  results: ["Results", "Resultados"],
  nothing: ["Results will appear here.", "Aquí aparecerán los resultados."],
  stale: [
    "The regions or options have changed. Classify again to update these results.",
    "Cambiaron las regiones o las opciones. Vuelva a clasificar la imagen para actualizar estos resultados.",
  ],
  sending: ["Sending the image …", "Enviando la imagen…"],
  running: ["Classifying …", "Clasificando…"],
  queued: ["Position {position} in the queue …", "Lugar {position} en la fila…"],
  queuedFor: [
    "Position {position} in the queue, about {seconds} s …",
    "Lugar {position} en la fila, aprox. {seconds} s…",
  ],
  retrying: [
    "The server has the image but cannot answer now. Trying again …",
    "El servidor ya tiene la imagen, pero no puede responder ahora. Intentando de nuevo…",
  ],
  accepted: ["accepted, above {threshold}", "aceptada, umbral {threshold}"],
  refused: ["not accepted, below {threshold}", "no aceptada, umbral {threshold}"],
  threshold: ["The mark shows the threshold of the class", "La marca indica el umbral de la clase"],
  bestPrediction: ["{where}: {name}, {score}, {verdict}.", "{where}: {name}, {score}, {verdict}."],
  consolidated: ["Species in all regions", "Especies de todas las regiones"],
  alsoAccepted: ["also accepted", "también aceptada"],
  noneAccepted: ["no prediction accepted", "ninguna predicción aceptada"],
  command: ["The same request from a terminal", "La misma solicitud desde una terminal"],
  copy: ["Copy", "Copiar"],
  copied: ["Copied", "Copiado"],
  notCopied: ["Copy failed: select the text", "No se pudo copiar: seleccione el texto"],
  unreachable: [
    "The server cannot be reached. Check your connection and try again.",
    "No se pudo conectar con el servidor. Revise su conexión e intente de nuevo.",
  ],
  broken: ["Unexpected response from the server: {status}.", "Respuesta inesperada del servidor: {status}."],
  notImage: ["This file is not an image.", "Este archivo no es una imagen."],
  canceled: ["Canceled.", "Clasificación cancelada."],
  key: ["This server requires an API key", "Este servidor requiere una clave de API"],
  useKey: ["Use key", "Usar clave"],
  keyStorage: [
    "The key stays in this tab and is deleted when you close it.",
    "La clave sólo se guarda en esta pestaña y se borra al cerrarla.",
  ],
  model: ["{classes} classes, {size} pixels", "{classes} clases, {size} pixeles"],
  status: ["Service status", "Estado del servicio"],
  span: ["The last three minutes, all clients", "Datos de todos los clientes en los últimos tres minutos"],
  unavailable: [
    "No figures: the server is not reporting them now",
    "Sin datos: el servidor no los está reportando en este momento",
  ],
  needsKey: ["No figures without an API key", "Sin datos: falta la clave de API"],
  workers: ["Workers", "Workers"],
  waiting: ["In the queue", "En la fila"],
  rate: ["Images/s", "Imágenes/s"],
  batch: ["Mean batch", "Imágenes/lote"],
  answered: ["Response, 95%", "Respuesta (95%)"],
  answeredMeans: [
    "Of 100 images sent to /classify, 95 got their scores within this time, including the time in the queue",
    "De cada 100 imágenes enviadas a /classify, 95 obtuvieron sus puntajes en este tiempo o menos, incluida la espera en la fila",
  ],
  highest: ["max. {value}", "máx. {value}"],
};

const LANGUAGES = ["en", "es"];
const NUMBER_LOCALES = { en: "en", es: "es-MX" }; // Mexico uses a decimal point, Spain a comma.
const STORAGE_KEY = "language";

export let language = stored() ?? preferred();

function stored() {
  try {
    const value = localStorage.getItem(STORAGE_KEY);
    return LANGUAGES.includes(value) ? value : null;
  } catch {
    return null; // The browser may forbid storage.
  }
}

function preferred() {
  const codes = navigator.languages.map((each) => each.slice(0, 2).toLowerCase());
  return codes.find((each) => LANGUAGES.includes(each)) ?? "en";
}

/** The language that is not in use. */
export function otherLanguage() {
  return LANGUAGES[1 - LANGUAGES.indexOf(language)];
}

/** Use the other language, also on the next visit. */
export function switchLanguage() {
  language = otherLanguage();
  try {
    localStorage.setItem(STORAGE_KEY, language);
  } catch {
    // Without storage, the choice lasts for this visit.
  }
}

/** A text in the language in use, with each `{name}` replaced by `values.name`. */
export function text(key, values = {}) {
  return TEXTS[key][LANGUAGES.indexOf(language)].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/** A number in the format of the language. */
export function number(value, digits = 0) {
  return new Intl.NumberFormat(NUMBER_LOCALES[language], { maximumFractionDigits: digits }).format(value);
}

/** A score from 0 to 1 in percent. A score between 0 and 1 is never rounded to 0% or 100%. */
export function percent(value) {
  const format = new Intl.NumberFormat(NUMBER_LOCALES[language], { style: "percent", maximumFractionDigits: 1 });
  if (value > 0 && value < 0.001) return `< ${format.format(0.001)}`;
  return format.format(value < 1 ? Math.min(value, 0.999) : value);
}

/** Set the texts of all elements that name a text in `data-text` or `data-label`. */
export function translate(root = document) {
  document.documentElement.lang = language;
  for (const each of root.querySelectorAll("[data-text]")) each.textContent = text(each.dataset.text);
  for (const each of root.querySelectorAll("[data-label]")) each.setAttribute("aria-label", text(each.dataset.label));
}
