// Squares inside a picture, in whole pixels of the upright original: `{x, y, side}`. Nothing here is drawn.

/** The square from one corner towards a point, as large as the picture lets it be. */
export function spanned(corner, to, size) {
  const right = to.x >= corner.x;
  const down = to.y >= corner.y;
  const room = Math.min(right ? size.width - corner.x : corner.x, down ? size.height - corner.y : corner.y);
  const wanted = Math.round(Math.max(Math.abs(to.x - corner.x), Math.abs(to.y - corner.y)));
  const side = Math.min(Math.max(wanted, 1), Math.floor(room));
  return fitted({ x: right ? corner.x : corner.x - side, y: down ? corner.y : corner.y - side, side }, size);
}

/** The nearest square of whole pixels that lies inside. */
export function fitted({ x, y, side }, size) {
  const most = Math.min(size.width, size.height);
  const fits = Math.min(Math.max(Math.round(side) || 1, 1), most);
  return { x: inside(x, size.width - fits), y: inside(y, size.height - fits), side: fits };
}

const inside = (value, most) => Math.min(Math.max(Math.round(value) || 0, 0), most);

/** Where a new one goes that nobody has drawn: half the picture, a little further for each that is there. */
export function next(count, size) {
  const least = Math.min(size.width, size.height);
  const shift = ((count % 5) - 2) * (least / 12) * (count ? 1 : 0);
  const side = least / 2;
  return fitted({ x: (size.width - side) / 2 + shift, y: (size.height - side) / 2 + shift, side }, size);
}

const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** What an arrow key makes of a square, or null for another key. With Shift it resizes. */
export function nudged(square, key, shift, size) {
  const way = WAYS[key];
  if (!way) return null;
  const step = Math.max(1, Math.round(Math.min(size.width, size.height) / 50));
  const [dx, dy] = way.map((each) => each * step);
  if (!shift) return fitted({ ...square, x: square.x + dx, y: square.y + dy }, size);
  const room = Math.min(size.width - square.x, size.height - square.y);
  return fitted({ ...square, side: Math.min(square.side + dx + dy, room) }, size);
}

/** The field `regions`, in the order of numbers that the server takes. */
export function fieldOf(squares, order) {
  return squares.map(({ x, y, side }) => (order === "yx" ? [y, x, side] : [x, y, side]).join(",")).join(";");
}
