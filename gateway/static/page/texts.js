// All that the page says, in both languages. What the server says of an error is shown as it words it.

const TEXTS = {
  title: ["classification-server", "classification-server"],
  otherLanguage: ["Español", "English"],
  more: ["More", "Más"],
  calls: ["API", "API"],
  ask: ["Picture and question", "Imagen y pregunta"],
  drop: ["Drop a picture here", "Suelte una imagen aquí"],
  paste: ["or paste one from the clipboard", "o péguela desde el portapapeles"],
  choose: ["Choose a picture", "Elegir una imagen"],
  photograph: ["Take a photo", "Tomar una foto"],
  another: ["Another picture", "Otra imagen"],
  picture: ["The picture to classify: {name}", "La imagen a clasificar: {name}"],
  unseen: [
    "This browser can't show the picture. The server may still read it: it can be classified as a whole.",
    "Este navegador no puede mostrar la imagen. Quizá el servidor sí la lea: se puede clasificar completa.",
  ],
  regions: ["Regions", "Regiones"],
  regionsOnPicture: ["Regions on the picture", "Regiones sobre la imagen"],
  draw: [
    "Draw squares on the picture; without any, all of it is classified.",
    "Dibuje cuadrados sobre la imagen; sin ninguno se clasifica completa.",
  ],
  keys: [
    "Keys: arrows move, with Shift they resize, Delete removes.",
    "Teclas: las flechas mueven, con Mayús cambian el tamaño, Supr borra.",
  ],
  add: ["Add a region", "Agregar una región"],
  clear: ["Remove all", "Quitar todas"],
  region: ["Region {number}", "Región {number}"],
  regionAt: ["Region {number}: x {x}, y {y}, side {side}", "Región {number}: x {x}, y {y}, lado {side}"],
  removed: ["Region {number} removed", "Región {number} quitada"],
  remove: ["Remove region {number}", "Quitar la región {number}"],
  x: ["x", "x"],
  y: ["y", "y"],
  side: ["side", "lado"],
  whole: ["Whole picture", "Imagen completa"],
  topN: ["Answers per region", "Respuestas por región"],
  consolidate: ["Merge by species", "Unir por especie"],
  classify: ["Classify", "Clasificar"],
  cancel: ["Cancel", "Cancelar"],
  answers: ["Answers", "Respuestas"],
  nothing: ["The answers will be here.", "Aquí estarán las respuestas."],
  stale: [
    "What is asked has changed since: classify again.",
    "Lo que se pregunta cambió desde entonces: clasifique otra vez.",
  ],
  sending: ["Sending the picture …", "Enviando la imagen …"],
  running: ["Being classified …", "Clasificando …"],
  queued: ["Number {position} in the line …", "Número {position} en la fila …"],
  queuedFor: [
    "Number {position} in the line, about {seconds} s …",
    "Número {position} en la fila, unos {seconds} s …",
  ],
  retrying: [
    "The server does not answer now; it has the picture, and is asked again …",
    "El servidor no responde ahora; ya tiene la imagen y se le vuelve a preguntar …",
  ],
  accepted: ["passes {threshold}", "supera {threshold}"],
  refused: ["below {threshold}", "no supera {threshold}"],
  threshold: ["The mark is the threshold of the class", "La marca es el umbral de la clase"],
  told: ["{where}: {name}, {score}, {passed}.", "{where}: {name}, {score}, {passed}."],
  consolidated: ["Species, all regions together", "Especies, todas las regiones juntas"],
  alsoAccepted: ["also accepted", "también aceptada"],
  noneAccepted: ["no answer passed its threshold", "ninguna respuesta alcanzó su umbral"],
  command: ["The same from a terminal", "Lo mismo desde una terminal"],
  copy: ["Copy", "Copiar"],
  copied: ["Copied", "Copiado"],
  notCopied: ["Can't copy: select it", "No se puede: selecciónelo"],
  unreachable: [
    "The server can't be reached. Is the network there? Then try again.",
    "No se puede llegar al servidor. ¿Hay red? Entonces intente otra vez.",
  ],
  broken: ["The server answered something else than expected: {status}.", "El servidor respondió otra cosa: {status}."],
  notImage: ["That is no picture.", "Eso no es una imagen."],
  canceled: ["Canceled.", "Cancelado."],
  key: ["This server asks for an API key", "Este servidor pide una clave"],
  useKey: ["Use it", "Usarla"],
  keyKept: [
    "It stays in this tab, and is forgotten when you close it.",
    "Se queda en esta pestaña y se olvida al cerrarla.",
  ],
  model: ["{classes} classes, {size} pixels", "{classes} clases, {size} pixeles"],
  status: ["How the service does", "Cómo va el servicio"],
  span: ["The last three minutes, of all callers", "Los últimos tres minutos, de todos los clientes"],
  away: ["No figures: the server does not tell them now", "Sin cifras: el servidor no las dice ahora"],
  needsKey: ["No figures without a key", "Sin cifras mientras no haya clave"],
  workers: ["Workers", "Workers"],
  waiting: ["Waiting", "En espera"],
  rate: ["Images/s", "Imágenes/s"],
  batch: ["Mean batch", "Lote medio"],
  answered: ["Answer, 95 %", "Respuesta, 95 %"],
  answeredMeans: [
    "Of 100 pictures sent to /classify, 95 had their scores within this time, the line included",
    "De 100 imágenes enviadas a /classify, 95 tuvieron respuesta en este tiempo, con todo y la fila",
  ],
  highest: ["max. {value}", "máx. {value}"],
};

const LANGUAGES = ["en", "es"];
const KEPT = "language";

export let language = kept() ?? preferred();

function kept() {
  const found = recall();
  return LANGUAGES.includes(found) ? found : null;
}

function recall() {
  try {
    return localStorage.getItem(KEPT);
  } catch {
    return null; // where the browser keeps nothing for pages
  }
}

function preferred() {
  const wanted = navigator.languages.map((each) => each.slice(0, 2).toLowerCase());
  return wanted.find((each) => LANGUAGES.includes(each)) ?? "en";
}

/** The other one of the two. */
export function other() {
  return LANGUAGES[1 - LANGUAGES.indexOf(language)];
}

/** Speak the other language from now on. */
export function switchLanguage() {
  language = other();
  try {
    localStorage.setItem(KEPT, language);
  } catch {
    // Then for this visit alone.
  }
}

/** A text, with `{name}` replaced by `values.name`. */
export function say(key, values = {}) {
  return TEXTS[key][LANGUAGES.indexOf(language)].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/** A number as people write it in this language. */
export function number(value, digits = 0) {
  return new Intl.NumberFormat(language, { maximumFractionDigits: digits }).format(value);
}

/** A score from 0 to 1 in percent. What is not quite all, or nothing, is never told as such. */
export function percent(value) {
  const format = new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 1 });
  if (value > 0 && value < 0.001) return `< ${format.format(0.001)}`;
  return format.format(value < 1 ? Math.min(value, 0.999) : value);
}

/** Put the texts of this language into the elements that name one. */
export function translate(root = document) {
  document.documentElement.lang = language;
  for (const each of root.querySelectorAll("[data-text]")) each.textContent = say(each.dataset.text);
  for (const each of root.querySelectorAll("[data-label]")) each.setAttribute("aria-label", say(each.dataset.label));
}
